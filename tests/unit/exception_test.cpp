// SPDX-License-Identifier: BSL-1.0

// What is thrown in one process, and what arrives in another: by bytes in most cases, between
// processes in the last.

#include "wire/exception.hpp"

#include "unit/frame.hpp"

#include <kin/error.hpp>
#include <kin/process.hpp>
#include <kin/queue.hpp>
#include <kin/serialize.hpp>
#include <kin/unique_fd.hpp>

#include <doctest/doctest.h>

#include <any>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

using kin::RemoteError;
using kin::detail::decode_exception;
using kin::detail::encode_exception;
using kin::detail::InArchive;
using kin::detail::OutArchive;

namespace {

using Bytes = std::vector<std::byte>;

Bytes encoded(const std::exception_ptr& exception) {
  OutArchive out;
  encode_exception(out, exception);
  return {out.bytes().begin(), out.bytes().end()};
}

std::exception_ptr decoded(const Bytes& bytes) {
  InArchive in(bytes);
  std::exception_ptr exception = decode_exception(in);
  in.finish();
  return exception;
}

std::exception_ptr sent(const std::exception_ptr& exception) { return decoded(encoded(exception)); }

template <typename Action>
std::exception_ptr thrown_by(Action action) {
  try {
    action();
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

/// The exception as a T, if it is caught as one. A copy: what is nested in it is asked for elsewhere.
template <typename T>
std::optional<T> caught_as(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const T& error) {
    return error;
  } catch (...) {
    return std::nullopt;
  }
}

std::exception_ptr nested_in(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::nested_exception& error) {
    return error.nested_ptr();
  } catch (...) {
    return nullptr;
  }
}

std::optional<RemoteError> remote_in(const std::exception_ptr& exception) {
  const std::exception_ptr nested = nested_in(exception);
  return nested ? caught_as<RemoteError>(nested) : std::nullopt;
}

template <typename T>
std::string what_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const T& error) {
    return error.what();
  } catch (...) {
    return "it is of another type";
  }
}

template <typename T>
T check_arrives(const T& error, const std::string& type_name) {
  CAPTURE(type_name);
  const std::exception_ptr arrived = sent(std::make_exception_ptr(error));
  CHECK(what_of<T>(arrived) == error.what());
  const auto remote = remote_in(arrived);
  REQUIRE(remote.has_value());
  CHECK(remote->type_name() == type_name);
  CHECK(remote->message() == error.what());
  CHECK(remote->pid() == ::getpid());
  // and once more, as if another process passed it on
  const std::exception_ptr again = sent(arrived);
  CHECK(what_of<T>(again) == error.what());
  CHECK(remote_in(again).has_value());
  CHECK(remote_in(nested_in(again)).has_value());
  return caught_as<T>(arrived).value();
}

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

class UnregisteredError : public std::out_of_range {
 public:
  using std::out_of_range::out_of_range;
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
  kin::register_exception<TextError>();          // again
  kin::register_exception<std::out_of_range>();  // known anyway
}

class OwnCategory : public std::error_category {
 public:
  const char* name() const noexcept override { return "own"; }
  std::string message(int value) const override { return "own " + std::to_string(value); }
};

}  // namespace

TEST_SUITE("exception") {
  TEST_CASE("exceptions of the standard library arrive as what they are") {
    check_arrives(std::logic_error("a"), "std::logic_error");
    check_arrives(std::invalid_argument("b"), "std::invalid_argument");
    check_arrives(std::domain_error("c"), "std::domain_error");
    check_arrives(std::length_error("d"), "std::length_error");
    check_arrives(std::out_of_range("e"), "std::out_of_range");
    check_arrives(std::runtime_error("f"), "std::runtime_error");
    check_arrives(std::range_error("g"), "std::range_error");
    check_arrives(std::overflow_error("h"), "std::overflow_error");
    check_arrives(std::underflow_error(""), "std::underflow_error");
    check_arrives(std::exception(), "std::exception");
    check_arrives(std::bad_exception(), "std::bad_exception");
    check_arrives(std::bad_alloc(), "std::bad_alloc");
    check_arrives(std::bad_array_new_length(), "std::bad_array_new_length");
    check_arrives(std::bad_cast(), "std::bad_cast");
    check_arrives(std::bad_any_cast(), "std::bad_any_cast");
    check_arrives(std::bad_typeid(), "std::bad_typeid");
    check_arrives(std::bad_function_call(), "std::bad_function_call");
    check_arrives(std::bad_optional_access(), "std::bad_optional_access");
    check_arrives(std::bad_variant_access(), "std::bad_variant_access");
    check_arrives(std::bad_weak_ptr(), "std::bad_weak_ptr");
  }

  TEST_CASE("what the standard library itself throws arrives too") {
    const auto arrives = [](auto action) { return sent(thrown_by(action)); };
    CHECK(caught_as<std::out_of_range>(arrives([] { return std::vector<int>().at(1); })));
    CHECK(caught_as<std::invalid_argument>(arrives([] { return std::stoi("x"); })));
    CHECK(caught_as<std::bad_variant_access>(
        arrives([] { return std::get<1>(std::variant<int, char>(1)); })));
    CHECK(caught_as<std::bad_any_cast>(arrives([] { return std::any_cast<int>(std::any('x')); })));
    CHECK(caught_as<std::bad_function_call>(arrives([] { std::function<void()>()(); })));
    const auto regex = caught_as<std::regex_error>(arrives([] { std::regex wrong("("); }));
    REQUIRE(regex);
    CHECK(regex->code() == std::regex_constants::error_paren);
  }

  TEST_CASE("the base is not caught as a derived class, nor the other way round") {
    CHECK_FALSE(caught_as<std::out_of_range>(sent(std::make_exception_ptr(std::logic_error("")))));
    CHECK(caught_as<std::logic_error>(sent(std::make_exception_ptr(std::out_of_range("")))));
    CHECK_FALSE(caught_as<kin::Error>(sent(std::make_exception_ptr(std::runtime_error("")))));
  }

  TEST_CASE("error codes arrive with their category") {
    const std::error_code no_file(ENOENT, std::generic_category());
    const std::error_code busy(EBUSY, std::system_category());
    CHECK(check_arrives(std::system_error(no_file, "open"), "std::system_error").code() == no_file);
    CHECK(check_arrives(std::system_error(busy), "std::system_error").code() == busy);
    CHECK(check_arrives(std::system_error(busy, ""), "std::system_error").code() == busy);
    CHECK(check_arrives(std::system_error(busy, "a: b: c"), "std::system_error").code() == busy);
    const std::future_error broken(std::future_errc::broken_promise);
    CHECK(check_arrives(broken, "std::future_error").code() == broken.code());
    const auto failure = check_arrives(std::ios_base::failure("read"), "std::ios_base::failure");
    CHECK(failure.code() == std::io_errc::stream);
    check_arrives(std::ios_base::failure("read", busy), "std::ios_base::failure");
    const std::regex_error regex(std::regex_constants::error_brack);
    CHECK(check_arrives(regex, "std::regex_error").code() == regex.code());
  }

  TEST_CASE("a failure that a stream itself throws is caught as one") {
    const std::exception_ptr arrived = sent(thrown_by([] {
      std::istringstream stream;
      stream.exceptions(std::ios::failbit);
      int number = 0;
      stream >> number;
    }));
    const auto failure = caught_as<std::ios_base::failure>(arrived);
    REQUIRE(failure);
    CHECK(failure->code() == std::io_errc::stream);
    CHECK(remote_in(arrived).value().type_name() == "std::ios_base::failure");
  }

  TEST_CASE("a filesystem error arrives with its paths") {
    using Error = std::filesystem::filesystem_error;
    const std::error_code code(ENOENT, std::generic_category());
    const std::string name = "std::filesystem::filesystem_error";
    check_arrives(Error("stat", code), name);
    CHECK(check_arrives(Error("stat", "/a", code), name).path1() == "/a");
    const Error moved = check_arrives(Error("move", "/a", "/b", code), name);
    CHECK(moved.path1() == "/a");
    CHECK(moved.path2() == "/b");
    CHECK(moved.code() == code);
    check_arrives(Error("stat", "", code), name);
    check_arrives(Error("move", "", "/b", code), name);
    check_arrives(Error("move", "", "", code), name);
    check_arrives(Error("", "", "", code), name);
  }

  TEST_CASE("an error code of a category that nobody knows is told by its text") {
    static const OwnCategory own;
    const std::system_error error(7, own, "call");
    const auto remote = caught_as<RemoteError>(sent(std::make_exception_ptr(error)));
    REQUIRE(remote);
    CHECK(remote->type_name() == "std::system_error");
    CHECK(remote->message() == "call: own 7");
  }

  TEST_CASE("exceptions of kin's arrive as what they are") {
    check_arrives(kin::Error("a"), "kin::Error");
    check_arrives(kin::QueueShutDown("b"), "kin::QueueShutDown");
    check_arrives(kin::EndOfStream("c"), "kin::EndOfStream");
    check_arrives(kin::BrokenPipe("d"), "kin::BrokenPipe");
    check_arrives(kin::BrokenBarrierError("e"), "kin::BrokenBarrierError");
    check_arrives(kin::DeadlockError("e"), "kin::DeadlockError");
    check_arrives(kin::SerializationError("f"), "kin::SerializationError");
    check_arrives(kin::TimeoutError("g"), "kin::TimeoutError");
    check_arrives(kin::CancelledError("h"), "kin::CancelledError");
    check_arrives(kin::InvalidStateError("i"), "kin::InvalidStateError");
    check_arrives(kin::BrokenPool("j"), "kin::BrokenPool");
    check_arrives(kin::ManagerDied("k"), "kin::ManagerDied");
    const auto system = check_arrives(kin::SystemError("fork", EAGAIN), "kin::SystemError");
    CHECK(system.call() == "fork");
    CHECK(system.code() == std::error_code(EAGAIN, std::system_category()));
    CHECK(check_arrives(kin::BufferTooShort(77), "kin::BufferTooShort").message_size() == 77);
    const auto died = check_arrives(kin::OwnerDied("two died", {1, 2}, 5), "kin::OwnerDied");
    CHECK(died.pids() == std::vector<pid_t>{1, 2});
    CHECK(died.count() == 5);
    const auto worker = check_arrives(kin::WorkerDied("killed", 4711, -9), "kin::WorkerDied");
    CHECK(worker.pid() == 4711);
    CHECK(worker.exit_code() == -9);
    const auto remote = check_arrives(RemoteError("Odd", "text", 4711), "kin::RemoteError");
    CHECK(remote.type_name() == "Odd");
    CHECK(remote.message() == "text");
    CHECK(remote.pid() == 4711);
  }

  TEST_CASE("what is of no known type arrives as a remote error") {
    const auto remote = [](const std::exception_ptr& exception) {
      const std::exception_ptr arrived = sent(exception);
      CHECK(nested_in(arrived) == nullptr);
      return caught_as<RemoteError>(arrived).value();
    };
    const auto derived = remote(std::make_exception_ptr(UnregisteredError("no key")));
    CHECK(derived.type_name() == "(anonymous namespace)::UnregisteredError");
    CHECK(derived.message() == "no key");
    CHECK(derived.pid() == ::getpid());
    CHECK(std::string(derived.what()) ==
          "(anonymous namespace)::UnregisteredError: no key "
          "(in process " +
              std::to_string(::getpid()) + ")");
    CHECK(remote(std::make_exception_ptr(Foreign())).message().empty());
    CHECK(remote(std::make_exception_ptr(-42)).message() == "-42");
    CHECK(remote(std::make_exception_ptr(42ULL)).type_name() == "unsigned long long");
    CHECK(remote(std::make_exception_ptr(std::string("text"))).type_name() == "std::string");
    CHECK(remote(std::make_exception_ptr(std::string("text"))).message() == "text");
    CHECK(remote(std::make_exception_ptr("literal")).message() == "literal");
    CHECK(remote(std::make_exception_ptr(nullptr)).message().empty());
  }

  TEST_CASE("no exception at all arrives as one") {
    CHECK(caught_as<std::bad_exception>(sent(nullptr)));
  }

  TEST_CASE("a text of a MiB arrives whole") {
    register_all();
    const std::string text(1 << 20, 'x');
    check_arrives(std::runtime_error(text), "std::runtime_error");
    check_arrives(TextError(text), "(anonymous namespace)::TextError");
    const auto remote =
        caught_as<RemoteError>(sent(std::make_exception_ptr(UnregisteredError(text))));
    CHECK(remote.value().message() == text);
    CHECK(caught_as<RemoteError>(sent(std::make_exception_ptr(text))).value().message() == text);
  }

  TEST_CASE("registered exceptions arrive as what they are, by text") {
    register_all();
    check_arrives(TextError("text"), "(anonymous namespace)::TextError");
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

  TEST_CASE("of thousands nested in one another the outer ones arrive") {
    std::exception_ptr thrown = std::make_exception_ptr(std::runtime_error("0"));
    for (int i = 1; i <= 3000; ++i) {
      thrown = thrown_by([&] {
        try {
          std::rethrow_exception(thrown);
        } catch (...) {
          std::throw_with_nested(std::runtime_error(std::to_string(i)));
        }
      });
    }
    std::exception_ptr arrived = sent(thrown);
    CHECK(what_of<std::runtime_error>(arrived) == "3000");
    int layers = 0;
    for (; arrived; arrived = nested_in(arrived)) ++layers;
    CHECK(layers == 101);  // and the remote error
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

  TEST_CASE("what a call ended with needs no memory to be told") {
    using kin::detail::give_exception;
    using kin::detail::take_exception;
    std::vector<std::byte> given;
    kin::detail::IncomingCargo cargo;
    const auto give = [&](std::span<const std::byte> bytes) {
      given.assign(bytes.begin(), bytes.end());
    };
    const auto give_little = [&](std::span<const std::byte> bytes) {
      if (!bytes.empty()) throw std::bad_alloc();
      give(bytes);
    };
    const auto thrown = std::make_exception_ptr(std::out_of_range("too far"));
    give_exception(thrown, nullptr, give);
    CHECK(caught_as<std::out_of_range>(take_exception(given, cargo)));
    give_exception(thrown, nullptr, give_little);
    CHECK(given.empty());
    CHECK(caught_as<std::bad_alloc>(take_exception(given, cargo)));

    give_exception(thrown, "the task's result", give);
    const auto failed = caught_as<kin::SerializationError>(take_exception(given, cargo));
    REQUIRE(failed);
    CHECK(std::string(failed->what()).find("the task's result can't be sent: too far") !=
          std::string::npos);
  }
}
