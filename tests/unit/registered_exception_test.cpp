// SPDX-License-Identifier: BSL-1.0

// Exceptions that a program registers arrive in another process as what they are: by bytes in most cases, between
// processes in the last.
//
// Fails when:
//   Worker::call() gives an exception without its cargo: "a task's exception arrives with its handles and descriptors"
//   LineCall::fail() does, or PartOfBatch::fail() writes of a cargo: "an exception of a manager's call arrives …"
//   give_exception() does not try without the cargo, or answer() leaves half of one: "an answer that has no room …"

#include "unit/frame.hpp"
#include "unit/sent_exception.hpp"

#include <kin/detail/cargo.hpp>
#include <kin/error.hpp>
#include <kin/manager.hpp>
#include <kin/pool.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>
#include <kin/unique_fd.hpp>

#include <doctest/doctest.h>

#include <cerrno>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <future>
#include <optional>
#include <regex>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using kin::RemoteError;
using kin::detail::decode_exception;
using kin::detail::encode_exception;
using kin::detail::InArchive;
using kin::detail::OutArchive;
using unit::Bytes;
using unit::caught_as;
using unit::check_arrives;
using unit::decoded;
using unit::encoded;
using unit::nested_in;
using unit::remote_in;
using unit::sent;
using unit::thrown_by;
using unit::what_of;

namespace {

// Classes as applications have them.

class TextError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class LiteralError : public std::exception {
 public:
  explicit LiteralError(const char* text) : text_(text) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

class NameError : public std::exception {
 public:
  const char* what() const noexcept override { return "the name says it"; }
};

class MemberError : public std::exception {
 public:
  MemberError() = default;
  MemberError(std::string file, int line) : file_(std::move(file)), line_(line) {
    what_ = file_ + ":" + std::to_string(line_);
  }
  const char* what() const noexcept override { return what_.c_str(); }
  const std::string& file() const { return file_; }
  int line() const { return line_; }

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& file_& line_& what_;
  }

  std::string file_;
  int line_ = 0;
  std::string what_;
};

class TextAndMemberError : public std::runtime_error {
 public:
  explicit TextAndMemberError(const std::string& text, int line = 0)
      : std::runtime_error(text), line_(line) {}
  int line() const { return line_; }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& line_;
  }

 private:
  int line_;
};

struct AggregateError {
  int code;
  std::vector<std::string> details;
};

enum class Status { fine, broken };

class OwnNesting : public std::runtime_error, public std::nested_exception {
 public:
  using std::runtime_error::runtime_error;
};

class FinalError final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class DerivedError : public TextError {
 public:
  using TextError::TextError;
};

struct Foreign {};

// Throws wherever it is written, or read.
template <bool when_saved>
class StubbornError : public std::exception {
 public:
  const char* what() const noexcept override { return "stubborn"; }
  template <typename Archive>
  void serialize(Archive& /*archive*/, unsigned /*version*/) {
    if (Archive::is_saving::value == when_saved) throw Foreign();
  }
};

class RefusesText : public std::runtime_error {
 public:
  explicit RefusesText(const std::string& text) : std::runtime_error(text) {
    if (text == "there") throw std::invalid_argument("not here");
  }
  RefusesText() : std::runtime_error("there") {}
};

struct CarryingError {
  kin::Queue<int> queue;
  kin::UniqueFd descriptor;

  CarryingError() : queue(kin::Queue<int>()) {}
  CarryingError(const CarryingError& other) : queue(other.queue) {
    if (other.descriptor) descriptor = kin::UniqueFd(::dup(other.descriptor.get()));
  }
  CarryingError(CarryingError&&) = default;
  CarryingError& operator=(const CarryingError&) = delete;
  CarryingError& operator=(CarryingError&&) = default;
  ~CarryingError() = default;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& queue& descriptor;
  }
};

struct CarryingText : std::runtime_error {
  kin::Queue<int> queue;

  explicit CarryingText(const std::string& text) : std::runtime_error(text) {}
  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& queue;
  }
};

void register_all() {
  kin::register_exception<TextError>();
  kin::register_exception<LiteralError>();
  kin::register_exception<NameError>();
  kin::register_exception<MemberError>();
  kin::register_exception<TextAndMemberError>();
  kin::register_exception<AggregateError>();
  kin::register_exception<Status>();
  kin::register_exception<OwnNesting>();
  kin::register_exception<FinalError>();
  kin::register_exception<StubbornError<true>>();
  kin::register_exception<StubbornError<false>>();
  kin::register_exception<RefusesText>();
  kin::register_exception<CarryingError>();
  kin::register_exception<CarryingText>();
  kin::register_exception<TextError>();          // again
  kin::register_exception<std::out_of_range>();  // known anyway
}

}  // namespace

TEST_SUITE("registered exception") {
  TEST_CASE("registered exceptions arrive as what they are, by text") {
    register_all();
    check_arrives(TextError("text"), "(anonymous namespace)::TextError");
    const std::string mebibyte(1 << 20, 'x');
    check_arrives(TextError(mebibyte), "(anonymous namespace)::TextError");
    check_arrives(LiteralError("literal"), "(anonymous namespace)::LiteralError");
    check_arrives(NameError(), "(anonymous namespace)::NameError");
  }

  TEST_CASE("registered exceptions arrive with all members") {
    register_all();
    const auto error = check_arrives(MemberError("a.txt", 7), "(anonymous namespace)::MemberError");
    CHECK(error.file() == "a.txt");
    CHECK(error.line() == 7);

    const auto both =
        check_arrives(TextAndMemberError("b", 8), "(anonymous namespace)::TextAndMemberError");
    CHECK(both.line() == 8);

    const std::exception_ptr arrived =
        sent(std::make_exception_ptr(AggregateError{7, {"one", "two"}}));
    const auto aggregate = caught_as<AggregateError>(arrived);
    REQUIRE(aggregate);
    CHECK(aggregate->code == 7);
    CHECK(aggregate->details == std::vector<std::string>{"one", "two"});
    CHECK(remote_in(arrived).value().type_name() == "(anonymous namespace)::AggregateError");
  }

  TEST_CASE("numbers, and classes that are final, arrive with nothing nested in them") {
    register_all();
    CHECK(caught_as<Status>(sent(std::make_exception_ptr(Status::broken))) == Status::broken);
    const std::exception_ptr arrived = sent(std::make_exception_ptr(FinalError("final")));
    CHECK(what_of<FinalError>(arrived) == "final");
    CHECK(nested_in(arrived) == nullptr);
  }

  TEST_CASE("a class that nests by itself nests the remote error") {
    register_all();
    const std::exception_ptr arrived = sent(thrown_by([] {
      try {
        throw std::out_of_range("inner");
      } catch (...) {
        throw OwnNesting("outer");
      }
    }));
    CHECK(what_of<OwnNesting>(arrived) == "outer");
    CHECK(remote_in(arrived).value().message() == "outer");
    CHECK(what_of<std::out_of_range>(nested_in(nested_in(arrived))) == "inner");
  }

  TEST_CASE("a class derived from a registered one is not taken for it") {
    register_all();
    const auto remote = caught_as<RemoteError>(sent(std::make_exception_ptr(DerivedError("d"))));
    CHECK(remote.value().type_name() == "(anonymous namespace)::DerivedError");
  }

  TEST_CASE("handles and descriptors of an exception arrive with it") {
    register_all();
    const unit::Frame frame;
    CarryingError error;
    error.descriptor = kin::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    error.queue.put(42);
    const std::exception_ptr thrown = std::make_exception_ptr(std::move(error));
    OutArchive out;
    encode_exception(out, thrown);
    kin::detail::IncomingCargo cargo;
    for (const auto& handle : out.cargo().handles) cargo.handles.push_back(handle);
    for (const int descriptor : out.cargo().descriptors) {
      cargo.descriptors.emplace_back(::dup(descriptor));
    }
    CHECK(cargo.handles.size() == 1);
    CHECK(cargo.descriptors.size() == 1);
    InArchive in(out.bytes(), cargo);
    const std::exception_ptr arrived = decode_exception(in);
    in.finish();
    const auto copy = caught_as<CarryingError>(arrived);
    REQUIRE(copy);
    CHECK(copy->queue.try_get() == 42);
    CHECK(copy->descriptor);
  }

  TEST_CASE("where handles and descriptors can't go the texts arrive, and what is nested") {
    register_all();
    const unit::Frame frame;
    const std::exception_ptr thrown = thrown_by([] {
      try {
        throw MemberError("a.txt", 7);
      } catch (...) {
        std::throw_with_nested(CarryingText("heavy"));
      }
    });
    const auto check = [](const std::exception_ptr& arrived) {
      const auto remote = caught_as<RemoteError>(arrived).value();
      CHECK(remote.type_name() == "(anonymous namespace)::CarryingText");
      CHECK(remote.message() == "heavy");
      CHECK(remote.pid() == ::getpid());
      CHECK(caught_as<MemberError>(nested_in(arrived)).value().line() == 7);
    };

    OutArchive without;
    encode_exception(without, thrown, kin::detail::ExceptionCargo::stays);
    CHECK(without.cargo().empty());
    check(decoded({without.bytes().begin(), without.bytes().end()}));

    OutArchive with;
    encode_exception(with, thrown);
    kin::detail::IncomingCargo cargo;
    for (const auto& handle : with.cargo().handles) cargo.handles.push_back(handle);
    CHECK(cargo.handles.size() == 1);
    InArchive in(with.bytes(), cargo);
    OutArchive again;
    kin::detail::encode_without_cargo(again, in);
    in.finish();
    CHECK(again.cargo().empty());
    check(decoded({again.bytes().begin(), again.bytes().end()}));
  }

  TEST_CASE("where there is no room for handles the texts are given") {
    register_all();
    const unit::Frame frame;
    std::vector<Bytes> given;
    const auto give = [&](std::span<const std::byte> bytes,
                          const kin::detail::OutgoingCargo& cargo) {
      given.emplace_back(bytes.begin(), bytes.end());
      if (!cargo.empty()) throw kin::SystemError("no room", ENOSPC);
    };
    kin::detail::give_exception(std::make_exception_ptr(CarryingText("heavy")), nullptr, give);
    REQUIRE(given.size() == 2);
    CHECK(caught_as<RemoteError>(decoded(given.back())).value().message() == "heavy");
  }

  TEST_CASE("a task's exception arrives with its handles and descriptors") {
    register_all();
    const unit::Frame frame;
    kin::Pool pool(1);
    const auto future = pool.apply_async([] {
      CarryingError error;
      error.descriptor = kin::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      error.queue.put(42);
      throw error;
    });
    for (int i = 0; i < 2; ++i) {  // each who asks has one of his own
      const auto copy = caught_as<CarryingError>(future.exception());
      REQUIRE(copy);
      CHECK(::fcntl(copy->descriptor.get(), F_GETFD) != -1);
      CHECK(copy->queue.try_get() == (i == 0 ? std::optional(42) : std::nullopt));
      copy->queue.put(1);
      CHECK(copy->queue.get() == 1);
    }
    CHECK_THROWS_AS(pool.apply([] { throw CarryingText("heavy"); }), CarryingText);
    CHECK(pool.apply([] { return 7; }) == 7);
  }

  TEST_CASE(
      "an exception of a manager's call arrives with its handles, but of a batch as a remote "
      "error") {
    register_all();
    const unit::Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(42);
    const auto fail = [](int& value) {
      CarryingText error("heavy");
      error.queue.put(value);
      throw error;
    };
    const auto check = [&](const std::exception_ptr& thrown) {
      const auto error = caught_as<CarryingText>(thrown);
      REQUIRE(error);
      CHECK(error->what() == std::string("heavy"));
      CHECK(error->queue.try_get() == 42);
    };
    check(thrown_by([&] { number.apply(fail); }));
    check(number.apply_async(fail).exception());

    auto batch = number.batch();
    const auto failed = batch.apply(fail);
    const auto value = batch.apply([](int& it) { return it; });
    batch.run();
    const auto remote = caught_as<RemoteError>(thrown_by([&] { failed.get(); }));
    REQUIRE(remote);
    CHECK(remote->type_name() == "(anonymous namespace)::CarryingText");
    CHECK(remote->message() == "heavy");
    CHECK(value.get() == 42);
  }

  TEST_CASE("an answer that has no room for its descriptors leaves nothing to the next") {
    register_all();
    const unit::Frame frame;
    const kin::Manager manager;
    const auto number = manager.make<int>(42);
    const auto fail = [](int& value, bool is_open) {
      CarryingError error;
      constexpr int no_descriptor = 900'000;
      error.descriptor =
          kin::UniqueFd(is_open ? ::open("/dev/null", O_RDONLY | O_CLOEXEC) : no_descriptor);
      error.queue.put(++value);
      throw error;
    };
    for (int i = 0; i < 2; ++i) {
      const auto remote = caught_as<RemoteError>(thrown_by([&] { number.apply(fail, false); }));
      REQUIRE(remote);
      CHECK(remote->type_name() == "(anonymous namespace)::CarryingError");
      const auto whole = caught_as<CarryingError>(thrown_by([&] { number.apply(fail, true); }));
      REQUIRE(whole);
      CHECK(whole->queue.try_get() == 44 + 2 * i);
    }
  }

  TEST_CASE("where a class's own code fails the texts arrive") {
    register_all();
    const auto remote = [](const std::exception_ptr& exception) {
      return caught_as<RemoteError>(sent(exception)).value();
    };
    CHECK(remote(std::make_exception_ptr(StubbornError<true>())).message() == "stubborn");
    CHECK(remote(std::make_exception_ptr(StubbornError<false>())).message() == "stubborn");
    CHECK(remote(std::make_exception_ptr(RefusesText())).message() == "there");
  }

  TEST_CASE("what is nested arrives behind the remote error") {
    register_all();
    const std::exception_ptr arrived = sent(thrown_by([] {
      try {
        try {
          throw Foreign();
        } catch (...) {
          std::throw_with_nested(MemberError("a.txt", 7));
        }
      } catch (...) {
        std::throw_with_nested(std::runtime_error("can't load"));
      }
    }));
    CHECK(what_of<std::runtime_error>(arrived) == "can't load");
    const std::exception_ptr remote = nested_in(arrived);
    CHECK(caught_as<RemoteError>(remote).value().type_name() == "std::runtime_error");
    const std::exception_ptr middle = nested_in(remote);
    CHECK(what_of<MemberError>(middle) == "a.txt:7");
    const auto inner = caught_as<RemoteError>(nested_in(middle));
    CHECK(inner.value().type_name() == "(anonymous namespace)::Foreign");
    CHECK(nested_in(nested_in(middle)) == nullptr);
  }

  TEST_CASE("an exception stands between other values of a message") {
    OutArchive out;
    encode(out, std::string("before"));
    encode_exception(out, std::make_exception_ptr(StubbornError<true>()));
    encode_exception(out, std::make_exception_ptr(std::out_of_range("second")));
    encode(out, 42);
    InArchive in(out.bytes());
    CHECK(kin::detail::decode_next<std::string>(in) == "before");
    CHECK(caught_as<RemoteError>(decode_exception(in)));
    CHECK(caught_as<std::out_of_range>(decode_exception(in)));
    CHECK(kin::detail::decode_next<int>(in) == 42);
    in.finish();
  }

  TEST_CASE("a damaged message gives an exception or a SerializationError") {
    register_all();
    const std::exception_ptr thrown[] = {
        std::make_exception_ptr(std::out_of_range("no such key")),
        std::make_exception_ptr(MemberError("a.txt", 7)),
        std::make_exception_ptr(TextAndMemberError("text", 7)),
        std::make_exception_ptr(AggregateError{7, {"one", "two"}}),
        std::make_exception_ptr(kin::OwnerDied("two died", {1, 2}, 5)),
        std::make_exception_ptr(std::filesystem::filesystem_error(
            "move", "/a", "/b", std::error_code(ENOENT, std::generic_category()))),
        std::make_exception_ptr(std::regex_error(std::regex_constants::error_brack)),
        std::make_exception_ptr(std::future_error(std::future_errc::no_state)),
        thrown_by([] {
          try {
            throw std::runtime_error("inner");
          } catch (...) {
            std::throw_with_nested(kin::SystemError("open", ENOENT));
          }
        }),
    };
    for (const std::exception_ptr& exception : thrown) {
      const Bytes bytes = encoded(exception);
      for (std::size_t length = 0; length < bytes.size(); ++length) {
        // a copy of its own, so that the sanitizer sees a read behind its end
        const Bytes prefix(bytes.data(), bytes.data() + length);
        CHECK_THROWS_AS(decoded(prefix), kin::SerializationError);
      }
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        for (const unsigned change : {0x01U, 0x02U, 0x80U, 0xffU, 0x7fU}) {
          Bytes damaged = bytes;
          damaged[i] ^= static_cast<std::byte>(change);
          try {
            const std::exception_ptr arrived = decoded(damaged);
            CHECK(arrived != nullptr);
            static_cast<void>(encoded(arrived));
          } catch (const kin::SerializationError&) {
          }
        }
      }
    }
  }

  TEST_CASE("exceptions come from another process") {
    register_all();
    const unit::Frame frame;
    {
      const kin::Queue<Bytes> queue;
      kin::Process child([queue] {
        queue.put(encoded(thrown_by([] { return std::vector<int>().at(3); })));
        queue.put(encoded(std::make_exception_ptr(MemberError("a.txt", 7))));
        queue.put(encoded(std::make_exception_ptr(Foreign())));
      });
      child.start();
      const auto arrives = [&] { return decoded(queue.get_for(unit::patience).value()); };
      const std::exception_ptr range = arrives();
      CHECK(caught_as<std::out_of_range>(range));
      CHECK(remote_in(range).value().pid() == child.pid());
      const std::exception_ptr member = arrives();
      CHECK(caught_as<MemberError>(member).value().line() == 7);
      CHECK(remote_in(member).value().pid() == child.pid());
      CHECK(caught_as<RemoteError>(arrives()).value().pid() == child.pid());
      child.join();
      CHECK(child.exit_code() == 0);
    }
  }

  TEST_CASE("what only the other process has registered arrives as a remote error") {
    struct LateError : std::runtime_error {
      using std::runtime_error::runtime_error;
    };
    const unit::Frame frame;
    {
      const kin::Queue<Bytes> queue;
      kin::Process child([queue] {
        kin::register_exception<LateError>();
        queue.put(encoded(std::make_exception_ptr(LateError("late"))));
      });
      child.start();
      const auto remote = caught_as<RemoteError>(decoded(queue.get_for(unit::patience).value()));
      CHECK(remote.value().message() == "late");
      child.join();
      CHECK(child.exit_code() == 0);
    }
  }
}
