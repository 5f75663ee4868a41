// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/portable.hpp>
#include <kin/error.hpp>

#include <memory>
#include <utility>

namespace kin::detail {

/// Throws std::invalid_argument for code that a process has not loaded.
using CheckCode = void (*)(const void* code);

/// A function of the user's whose type is forgotten, that is copied with what it belongs to, and travels
/// with it in messages, if it is a function that can. A Target is what it is called as: a Callback, say.
template <typename Target>
class SentFunction {
 public:
  SentFunction() noexcept = default;
  template <typename F>
  explicit SentFunction(F function) : source_(std::make_shared<SourceOf<F>>(std::move(function))) {}

  [[nodiscard]] explicit operator bool() const noexcept { return source_ != nullptr; }
  /// A copy, to be called. There has to be one.
  [[nodiscard]] Target target() const { return source_->target(); }

  /// Throws: SerializationError, std::invalid_argument, for a function that can't travel.
  void travel(OutArchive& out) const {
    // What reads it is code, which has the same address in all kin.
    const Loader loader = source_ ? source_->loader() : nullptr;
    out.save_binary(&loader, sizeof loader);
    if (source_) source_->save(out);
  }
  /// `check_code` throws for code that this process has not loaded.
  void travel(InArchive& in, CheckCode check_code = nullptr) {
    Loader loader = nullptr;
    in.require_trust();
    in.load_binary(&loader, sizeof loader);
    if (loader != nullptr && check_code != nullptr) {
      check_code(reinterpret_cast<const void*>(loader));
    }
    source_ = loader != nullptr ? loader(in, check_code) : nullptr;
  }

 private:
  struct Source;
  using Loader = std::shared_ptr<const Source> (*)(InArchive& in, CheckCode check_code);

  struct Source {
    Source() = default;
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;
    virtual ~Source() = default;
    [[nodiscard]] virtual Target target() const = 0;
    virtual void save(OutArchive& out) const = 0;
    [[nodiscard]] virtual Loader loader() const noexcept = 0;
  };

  template <typename F>
  struct SourceOf final : Source {
    explicit SourceOf(F&& given) : function(std::move(given)) {}
    [[nodiscard]] Target target() const override { return Target(function); }
    void save(OutArchive& out) const override {
      if constexpr (PortableFunction<F>) {
        check_function(function);
        save_function(out, function);
      } else {
        throw SerializationError("the function " + function_name(function) +
                                 " can't travel in a message: make it of kin::partial");
      }
    }
    [[nodiscard]] Loader loader() const noexcept override {
      return [](InArchive& in,
                [[maybe_unused]] CheckCode check_code) -> std::shared_ptr<const Source> {
        if constexpr (PortableFunction<F>) {
          F loaded = load_function<F>(in);
          if constexpr (form_of<F>() == FunctionForm::address) {
            const void* const code = code_of(loaded);
            if (code != nullptr && check_code != nullptr) check_code(code);
          }
          return std::make_shared<SourceOf>(std::move(loaded));
        } else {
          InArchive::complain("a function that can't travel");
        }
      };
    }
    F function;
  };

  std::shared_ptr<const Source> source_;
};

}  // namespace kin::detail
