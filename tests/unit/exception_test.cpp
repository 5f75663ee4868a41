// SPDX-License-Identifier: BSL-1.0

// What is thrown in one process arrives in another as what it is: here by bytes, the standard library's exceptions and
// kin's own. Those that a program registers stand in registered_exception_test.cpp.
//
// Fails when:
//   add_own() leaves out a class of error.hpp: "all exceptions of kin's arrive as what they are"

#include "unit/sent_exception.hpp"
#include "unit/wrong_programs.hpp"
#include "wire/exception_types.hpp"

#include <kin/error.hpp>

#include <doctest/doctest.h>

#include <any>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <ios>
#include <iterator>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <typeinfo>
#include <variant>
#include <vector>

#include <unistd.h>

using kin::RemoteError;
using unit::caught_as;
using unit::check_arrives;
using unit::nested_in;
using unit::remote_in;
using unit::sent;
using unit::thrown_by;
using unit::what_of;

namespace {

class UnregisteredError : public std::out_of_range {
 public:
  using std::out_of_range::out_of_range;
};

struct Foreign {};

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
    check_arrives(kin::AuthenticationError("e"), "kin::AuthenticationError");
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

  TEST_CASE("all exceptions of kin's arrive as what they are") {
    std::ifstream header(KIN_TEST_INCLUDE "/kin/error.hpp");
    const std::string text{std::istreambuf_iterator<char>(header), {}};
    const std::regex declaration("class KIN_EXPORT (\\w+) : public");
    int count = 0;
    for (auto at = std::sregex_iterator(text.begin(), text.end(), declaration);
         at != std::sregex_iterator(); ++at) {
      const std::string name = "kin::" + at->str(1);
      CAPTURE(name);
      CHECK(kin::detail::find_exception(typeid(void), name).has_value());
      ++count;
    }
    CHECK(count >= 18);
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
    const std::string text(1 << 20, 'x');
    check_arrives(std::runtime_error(text), "std::runtime_error");
    const auto remote =
        caught_as<RemoteError>(sent(std::make_exception_ptr(UnregisteredError(text))));
    CHECK(remote.value().message() == text);
    CHECK(caught_as<RemoteError>(sent(std::make_exception_ptr(text))).value().message() == text);
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
