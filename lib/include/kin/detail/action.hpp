// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <kin/detail/archive.hpp>
#include <kin/detail/callable.hpp>
#include <kin/detail/portable.hpp>
#include <kin/error.hpp>

#include <functional>
#include <memory>
#include <utility>

namespace kin::detail {

/// Something to call, without arguments and result, that is copied with the handle that it belongs to,
/// and travels with it in messages, if it is a function that can.
class Action {
 public:
  Action() noexcept = default;
  template <typename F>
  explicit Action(F function) : target_(std::make_shared<Holder<F>>(std::move(function))) {}

  [[nodiscard]] explicit operator bool() const noexcept { return target_ != nullptr; }
  void operator()() const { target_->call(); }

  /// Throws: SerializationError, std::invalid_argument, for a function that can't travel.
  void travel(OutArchive& out) const {
    // What reads it is code, which has the same address in all kin.
    const Loader loader = target_ ? target_->loader() : nullptr;
    out.save_binary(&loader, sizeof loader);
    if (target_) target_->save(out);
  }
  void travel(InArchive& in) {
    Loader loader = nullptr;
    in.load_binary(&loader, sizeof loader);
    target_ = loader != nullptr ? loader(in) : nullptr;
  }

 private:
  struct Target;
  using Loader = std::shared_ptr<const Target> (*)(InArchive&);

  struct Target {
    Target() = default;
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;
    virtual ~Target() = default;
    virtual void call() const = 0;
    virtual void save(OutArchive& out) const = 0;
    [[nodiscard]] virtual Loader loader() const noexcept = 0;
  };

  template <typename F>
  struct Holder final : Target {
    explicit Holder(F&& given) : function(std::move(given)) {}
    void call() const override { static_cast<void>(std::invoke(function)); }
    void save(OutArchive& out) const override {
      if constexpr (PortableFunction<F>) {
        check_function(function);
        save_function(out, function);
      } else {
        throw SerializationError("the action " + function_name(function) +
                                 " can't travel in a message: make it of kin::partial");
      }
    }
    [[nodiscard]] Loader loader() const noexcept override {
      return [](InArchive& in) -> std::shared_ptr<const Target> {
        if constexpr (PortableFunction<F>) {
          return std::make_shared<Holder>(load_function<F>(in));
        } else {
          InArchive::complain("an action that can't travel");
        }
      };
    }
    F function;
  };

  std::shared_ptr<const Target> target_;
};

}  // namespace kin::detail
