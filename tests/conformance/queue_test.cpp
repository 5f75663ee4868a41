// SPDX-License-Identifier: BSL-1.0
//
// Queue, against CPython's _TestQueue, and the manager's. There is no feeder thread here: what put() returned
// from is in the queue, so the cases of the feeder ask for more than the rows do. A manager's queue has
// no close(): other threads and processes reach it by the same proxy.
//
// Fails when:
//   ByteChannel's get() waits with Deadline::passed(): test_get, test_timeout
//   size_of() counts to 1 only: test_qsize
//   QueueStore::get() takes the last one: test_get, test_fork, test_qsize of the manager
//   Handle::checked_object() does not look at `closed`: test_closed_queue_…
//   OutArchive::enter() does not count: test_queue_feeder_on_queue_feeder_error

#include "makers.hpp"

#include <memory>

using namespace trial;

namespace {

// Can't be sent while it says so.
class Stubborn {
 public:
  Stubborn() = default;
  Stubborn(int number, bool refuses) : number_(number), refuses_(refuses) {}
  [[nodiscard]] int number() const { return number_; }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    if (refuses_) throw std::domain_error("not now");
    archive& number_;
  }

 private:
  int number_ = 0;
  bool refuses_ = false;
};

// A chain: one pointer inside another.
struct Link {
  int number = 0;
  std::unique_ptr<Link> next;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& number;
    archive& next;
  }
};

Link chain(int length) {
  Link first;
  for (int i = 1; i < length; ++i) {
    auto rest = std::make_unique<Link>(std::move(first));
    first = Link{i, std::move(rest)};
  }
  return first;
}

// Of plain and of other items, which take different ways.
template <typename Each>
void with_each_item_type(Each each) {
  each([](int number) { return number; });
  each([](int number) { return std::to_string(number); });
}

}  // namespace

TEST_SUITE("queue") {
  // Empty is no exception but an empty optional, and there is no timeout to ignore in try_get().
  TEST_CASE_TEMPLATE("test_get", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    with_each_item_type([&](auto item) {
      using Item = decltype(item(0));
      const auto queue = maker.template queue<Item>();
      const kin::Queue<bool> put_now;
      CHECK(queue.empty());
      Companion putter(kind, [=] {
        expect(put_now.get_for(patience) == true);
        for (int i = 1; i <= 4; ++i) queue.put(item(i));
      });
      CHECK_FALSE(queue.try_get());
      put_now.put(true);
      CHECK(putter.ends_well());
      CHECK_FALSE(queue.empty());

      CHECK(queue.try_get() == item(1));
      CHECK(queue.get() == item(2));
      CHECK(queue.get_for(patience) == item(3));
      CHECK(queue.get_for(0s) == item(4));
      CHECK(queue.empty());

      CHECK_FALSE(queue.try_get());
      CHECK_FALSE(queue.get_for(0s));
      const auto start = std::chrono::steady_clock::now();
      CHECK_FALSE(queue.get_for(100ms));
      CHECK(std::chrono::steady_clock::now() - start >= 100ms);
    });
  }

  // The queue was used before the fork, which in Python has started its feeder.
  TEST_CASE_TEMPLATE("test_fork", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto queue = maker.template queue<int>();
    for (int i = 0; i < 10; ++i) queue.put(i);
    Companion putter(kind, [queue] {
      for (int i = 10; i < 20; ++i) queue.put(i);
    });
    CHECK(putter.ends_well());
    for (int i = 0; i < 20; ++i) CHECK(queue.try_get() == i);
    CHECK_FALSE(queue.try_get());
  }

  TEST_CASE_TEMPLATE("test_qsize", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto queue = maker.template queue<int>();
    CHECK(queue.size() == 0);
    queue.put(1);
    CHECK(queue.size() == 1);
    CHECK(Companion(kind, [queue] {
            expect(queue.size() == 1);
            queue.put(5);
            expect(queue.size() == 2);
          }).ends_well());
    CHECK(queue.size() == 2);
    CHECK(Companion(kind, [queue] {
            expect(queue.try_get() == 1);
            expect(queue.size() == 1);
          }).ends_well());
    CHECK(queue.size() == 1);
    CHECK(queue.try_get() == 5);
    CHECK(queue.size() == 0);
  }

  TEST_CASE_TEMPLATE("test_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto queue = maker.template queue<int>();
    CHECK(Companion(kind, [queue] {
            const auto start = std::chrono::steady_clock::now();
            expect(!queue.get_for(200ms));
            expect(std::chrono::steady_clock::now() - start >= 200ms);
          }).ends_well());
  }

  // Better than the row: the putter is told, and sees it before anybody else could.
  TEST_CASE_FIXTURE(Trial, "test_queue_feeder_donot_stop_onexc") {
    for (const int max_size : {0, 1}) {
      const kin::Queue<Stubborn> queue(max_size);
      CHECK(outcome([queue] {
              try {
                queue.put(Stubborn(1, true));
                expect(false);
              } catch (const std::domain_error&) {
                expect(queue.empty());
              }
              expect(queue.put_for(Stubborn(2, false), patience));
            }) == 0);
      CHECK(queue.size() == 1);
      CHECK_FALSE(queue.empty());
      CHECK(queue.full() == (max_size == 1));
      const auto item = queue.get_for(patience);
      REQUIRE(item);
      CHECK(item->number() == 2);
      CHECK(queue.empty());
      CHECK_FALSE(queue.full());
    }
  }

  // Better than a hook: the error is thrown where the object is.
  TEST_CASE_FIXTURE(Trial, "test_queue_feeder_on_queue_feeder_error") {
    const kin::Queue<Link> queue;
    const Link endless = chain(5000);
    CHECK_THROWS_AS(queue.put(endless), kin::SerializationError);
    CHECK_THROWS_AS(static_cast<void>(queue.try_put(endless)), kin::SerializationError);
    CHECK_THROWS_AS(static_cast<void>(queue.put_for(endless, patience)), kin::SerializationError);
    CHECK(queue.empty());
    queue.put(chain(3));
    const auto arrived = queue.get_for(patience);
    REQUIRE(arrived);
    REQUIRE(arrived->next);
    CHECK(arrived->next->number == 1);
  }

  // An unused queue can be closed as well; there is nothing to join.
  TEST_CASE_FIXTURE(Trial, "test_closed_queue_empty_exceptions") {
    const Kind kind = each_kind();
    const kin::Queue<int> unused;
    unused.close();
    unused.close();
    const kin::Queue<int> used;
    used.put(1);
    CHECK(Companion(kind, [used] { expect(used.try_get() == 1); }).ends_well());
    used.close();
    CHECK_THROWS_AS(static_cast<void>(used.empty()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(used.size()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(used.full()), std::logic_error);
  }

  TEST_CASE_FIXTURE(Trial, "test_closed_queue_put_get_exceptions") {
    const Kind kind = each_kind();
    const auto refuses = [](const auto& queue) {
      const auto throws = [](const auto& call) {
        try {
          call();
        } catch (const std::logic_error& error) {
          return std::string(error.what()).find("close()") != std::string::npos;
        }
        return false;
      };
      return throws([&] { queue.put(1); }) &&
             throws([&] { static_cast<void>(queue.try_put(1)); }) &&
             throws([&] { static_cast<void>(queue.put_for(1, patience)); }) &&
             throws([&] { static_cast<void>(queue.get()); }) &&
             throws([&] { static_cast<void>(queue.try_get()); }) &&
             throws([&] { static_cast<void>(queue.get_for(patience)); });
    };
    const kin::Queue<int> queue;
    const kin::JoinableQueue<int> joinable;
    queue.put(1);
    CHECK(Companion(kind, [=] {
            queue.close();
            joinable.close();
            expect(refuses(queue));
            expect(refuses(joinable));
          }).ends_well());
    // What another process closed is open here; what another thread closed is not.
    if (kind == Kind::process) CHECK(queue.try_get() == 1);
    queue.close();
    joinable.close();
    CHECK(refuses(queue));
    CHECK(refuses(joinable));
    CHECK_THROWS_AS(joinable.task_done(), std::logic_error);
    CHECK_THROWS_AS(joinable.join(), std::logic_error);
  }
}
