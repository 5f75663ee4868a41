// SPDX-License-Identifier: BSL-1.0
//
// Messages of a pool's, to a worker and back, that do not hold what they say.
//
// Fails when:
//   outcomes() reads all that remains into the values: a chunk's answer that ends in the middle …
//   count_in() drops the remainder: the same
//   count_of_plain() believes the head, or read_function() reads before it looks: a chunk's message …
//   CallMessage::run() does not look at the size: a call's message …

#include "frame.hpp"
#include "one_worker.hpp"
#include "pool/pool_task.hpp"

#include <kin/detail/process_chunks.hpp>
#include <kin/error.hpp>
#include <kin/pool.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace unit;
using kin::detail::CallMessage;
using kin::detail::OutArchive;
using kin::detail::ProcessChunks;
using kin::detail::ProcessEngine;
using kin::detail::Task;
using kin::detail::TaskRef;

using Function = int (*)(int);
int square(int x) { return x * x; }
std::string as_text(int x) { return std::to_string(x); }
int length_of(const std::string& text) { return static_cast<int>(text.size()); }

// A task that has finished, with these bytes as its result.
class Finished final : public Task {
 public:
  explicit Finished(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  [[nodiscard]] Stage stage() const override { return Stage::finished; }
  [[nodiscard]] bool wait_until_over(kin::detail::Deadline /*deadline*/) override { return true; }
  bool cancel(bool /*kill*/) override { return false; }
  [[nodiscard]] std::exception_ptr failure() override { return nullptr; }
  [[nodiscard]] std::span<const std::byte> message(kin::detail::IncomingCargo& cargo) override {
    cargo.clear();
    return bytes_;
  }
  [[nodiscard]] std::string name() const override { return "finished"; }

 private:
  bool want_notice() override { return false; }
  void forget_notice() noexcept override {}
  void dispose() noexcept override { delete this; }

  std::vector<std::byte> bytes_;
};

TaskRef finished_with(const OutArchive& out) {
  return TaskRef(*new Finished({out.bytes().begin(), out.bytes().end()}));
}

// What becomes of a task whose message is so much shorter than it was.
std::exception_ptr failure_of_shortened(ProcessEngine& engine, const TaskRef& task,
                                        std::size_t by) {
  static_cast<kin::detail::PoolTask&>(*task).slot().arguments_length -= by;
  engine.queue(*task);
  REQUIRE(task->wait(last_moment()));
  return task->failure();
}

std::string text_of(const std::exception_ptr& exception) {
  try {
    if (exception) std::rethrow_exception(exception);
  } catch (const kin::SerializationError& error) {
    return error.what();
  } catch (const std::exception& error) {
    return "another exception: " + std::string(error.what());
  }
  return "none";
}
bool is_too_short(const std::exception_ptr& exception) {
  return text_of(exception).find("it ends too early") != std::string::npos;
}

}  // namespace

TEST_SUITE("chunk messages") {
  using Chunks = ProcessChunks<Function, int, false>;

  TEST_CASE("a chunk's answer that ends in the middle of a value is refused") {
    const Frame frame;
    for (std::size_t spoilt = 0; spoilt < sizeof(int); ++spoilt) {
      const std::array<int, 3> values{1, 2, 3};
      const std::size_t size = sizeof values - spoilt;
      OutArchive whole;
      whole.save_binary(values.data(), size);
      OutArchive each;
      each.save_length(0);
      each.save_binary(values.data(), size);
      OutArchive failed;
      failed.save_length(1);
      failed.save_length(1);
      kin::detail::save_exception(failed, std::make_exception_ptr(std::out_of_range("one")));
      failed.save_binary(values.data(), size);
      std::vector<int> results;
      if (spoilt == 0) {
        Chunks::append(*finished_with(whole), results);
        CHECK(results == std::vector{1, 2, 3});
        CHECK(Chunks::outcomes(finished_with(each)).at(2) == 3);
        const auto outcomes = Chunks::outcomes(finished_with(failed));
        CHECK(outcomes.at(2) == 3);
        CHECK_THROWS_AS(static_cast<void>(outcomes.at(1)), std::out_of_range);
      } else {
        CHECK_THROWS_AS(Chunks::append(*finished_with(whole), results), kin::SerializationError);
        CHECK_THROWS_AS(Chunks::outcomes(finished_with(each)), kin::SerializationError);
        CHECK_THROWS_AS(Chunks::outcomes(finished_with(failed)), kin::SerializationError);
      }
    }
  }

  TEST_CASE("a chunk's message that holds less than it says is refused") {
    const Frame frame;
    const auto engine = ProcessEngine::start(one_worker());
    const std::vector<int> items{1, 2, 3};
    const std::vector<std::string> texts{"a", "b"};
    // In place, item by item, and by an archive either way.
    const Chunks plain(*engine, {}, square);
    const ProcessChunks<std::string (*)(int), int, false> to_text(*engine, {}, as_text);
    const ProcessChunks<int (*)(const std::string&), std::string, false> from_text(*engine, {},
                                                                                   length_of);
    for (const std::size_t by : std::vector<std::size_t>{1, 4, 12, 13}) {
      CHECK(is_too_short(failure_of_shortened(*engine, plain.hold(items), by)));
      CHECK(is_too_short(failure_of_shortened(*engine, plain.hold_each(items), by)));
      CHECK(is_too_short(failure_of_shortened(*engine, to_text.hold(items), by)));
      CHECK(is_too_short(failure_of_shortened(*engine, to_text.hold_each(items), by)));
    }
    CHECK(is_too_short(failure_of_shortened(*engine, from_text.hold(texts), 1)));
    CHECK(text_of(failure_of_shortened(*engine, plain.hold(items), 0)) == "none");
    CHECK(text_of(failure_of_shortened(*engine, from_text.hold(texts), 0)) == "none");
    engine->end();
  }

  TEST_CASE("a call's message that is shorter than its parts is refused") {
    const Frame frame;
    const auto engine = ProcessEngine::start(one_worker());
    using Call = CallMessage<Function, int>;
    const Function function = square;
    CHECK(is_too_short(failure_of_shortened(*engine, Call::hold(*engine, {}, function, 3), 1)));
    CHECK(text_of(failure_of_shortened(*engine, Call::hold(*engine, {}, function, 3), 0)) ==
          "none");
    engine->end();
  }
}
