// SPDX-License-Identifier: BSL-1.0
//
// What a manager makes, used by a child, against CPython's TestSyncManagerTypes.
//
// Where the row has a child that takes a lock and ends, with the parent to release it, the child lives here
// until that is done: what a process holds is free when it ends.
//
// Fails when:
//   LockStore::bury() does nothing: test_rlock, test_holders_that_die
//   LockStore::unlock() by another is refused: test_lock

#include "trial.hpp"

#include <sstream>

#include <csignal>
#include <unistd.h>

using namespace trial;

namespace {

// A child that does something with the object, and has to end well.
template <typename Object, typename Work>
void expect_of_child(const Object& object, Work work) {
  CHECK(outcome([=] { work(object); }) == 0);
}

// A child that does something with the object, and is there until told.
class Lingerer {
 public:
  template <typename Object, typename Work>
  Lingerer(const Object& object, Work work)
      : child_([=, done = done_, over = over_] {
          work(object);
          done.set();
          expect(over.wait_for(patience));
        }) {
    child_.start();
    CHECK(done_.wait_for(patience));
  }
  bool ends_well() {
    over_.set();
    return end_of(child_) == 0;
  }
  bool is_killed() {
    child_.kill();
    return end_of(child_) == -SIGKILL;
  }

 private:
  kin::Event done_;
  kin::Event over_;
  kin::Process child_;
};

constexpr auto lock_it = [](const auto& lock) { lock.lock(); };
constexpr auto acquire_it = [](const auto& semaphore) { semaphore.acquire(); };

template <typename T>
std::string printed(const T& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

template <typename Queue>
void expect_a_queue_of_two(const Queue& queue) {
  queue.put(5);
  queue.put(6);
  expect_of_child(queue, [](const auto& same) {
    expect(same.size() == 2);
    expect(same.full());
    expect(!same.empty());
    expect(!same.try_put(7));
    expect(same.get() == 5);
    expect(same.get() == 6);
    expect(same.empty());
  });
  CHECK(queue.empty());
  CHECK_FALSE(queue.full());
}

}  // namespace

TEST_SUITE("sync_manager_types") {
  TEST_CASE_FIXTURE(Trial, "test_lock") {
    const kin::Manager manager;
    const auto lock = manager.lock();
    Lingerer holder(lock, lock_it);
    CHECK(lock.locked());
    CHECK_FALSE(lock.try_lock());
    lock.unlock();
    CHECK_FALSE(lock.locked());
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    CHECK(holder.ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_rlock") {
    const kin::Manager manager;
    const auto lock = manager.rlock();
    expect_of_child(lock, [](const auto& same) {
      expect(!same.locked());
      same.lock();
      same.lock();
      same.unlock();
      expect(same.locked());
      same.unlock();
      expect(!same.locked());
    });
    Lingerer holder(lock, lock_it);
    CHECK_FALSE(lock.try_lock());
    CHECK_THROWS_AS(lock.unlock(), std::logic_error);
    CHECK(holder.ends_well());
    CHECK(lock.try_lock_for(patience));
  }

  TEST_CASE_FIXTURE(Trial, "test_semaphore") {
    const kin::Manager manager;
    const auto semaphore = manager.semaphore(1);
    expect_of_child(semaphore, acquire_it);
    CHECK(semaphore.value() == 0);
    semaphore.release();
    CHECK(semaphore.value() == 1);
  }

  TEST_CASE_FIXTURE(Trial, "test_bounded_semaphore") {
    const kin::Manager manager;
    const auto semaphore = manager.bounded_semaphore(1);
    Lingerer holder(semaphore, acquire_it);
    CHECK_FALSE(semaphore.try_acquire());
    semaphore.release();
    CHECK_THROWS_AS(semaphore.release(), std::logic_error);
    CHECK(holder.ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_condition") {
    const kin::Manager manager;
    const auto lock = manager.lock();
    for (const auto& condition : {manager.condition(), manager.condition(lock)}) {
      expect_of_child(condition, [](const auto& same) {
        same.lock();
        same.unlock();
      });
      CHECK(condition.try_lock());
      condition.unlock();
    }
  }

  TEST_CASE_FIXTURE(Trial, "test_event") {
    const kin::Manager manager;
    const auto event = manager.event();
    event.set();
    expect_of_child(event, [](const auto& same) {
      expect(same.is_set());
      same.wait();
      same.clear();
      expect(!same.wait_for(1ms));
    });
    CHECK_FALSE(event.is_set());
    CHECK_FALSE(event.wait_for(1ms));
  }

  TEST_CASE_FIXTURE(Trial, "test_barrier") {
    const kin::Manager manager;
    const auto barrier = manager.barrier(5);
    expect_of_child(barrier, [](const auto& same) {
      expect(same.parties() == 5);
      same.abort();
      expect(same.broken());
      same.reset();
      expect(!same.broken());
    });
    CHECK_FALSE(barrier.broken());
  }

  TEST_CASE_FIXTURE(Trial, "test_queue") {
    const kin::Manager manager;
    expect_a_queue_of_two(manager.queue<int>(2));
  }

  TEST_CASE_FIXTURE(Trial, "test_joinable_queue") {
    const kin::Manager manager;
    const auto queue = manager.joinable_queue<int>(2);
    queue.put(5);
    queue.put(6);
    CHECK_FALSE(queue.join_for(1ms));
    expect_of_child(queue, [](const auto& same) {
      expect(same.full());
      for (const int item : {5, 6}) {
        expect(same.get() == item);
        same.task_done();
      }
    });
    CHECK(queue.empty());
    CHECK(queue.join_for(patience));
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
  }

  TEST_CASE_FIXTURE(Trial, "test_list") {
    const kin::Manager manager;
    const auto list = manager.list<int>({5});
    expect_of_child(list, [](const auto& same) {
      expect(same.size() == 1);
      expect(same.get(0) == 5);
      expect(same.count(5) == 1);
      expect(same.index(5) == 0);
      expect(same + std::vector{6} == std::vector{5, 6});
      expect(same * 2 == std::vector{5, 5});
      expect(2 * same == std::vector{5, 5});
      auto again = same;
      again += {2};
      again *= 2;
      expect(again == same);
      expect(same.copy() == std::vector{5, 2, 5, 2});
      same.erase(kin::managed::Slice{.first = 2});
      same.extend({8, 1});
      expect(same.copy() == std::vector{5, 2, 8, 1});
      same.sort();
      expect(same.copy() == std::vector{1, 2, 5, 8});
      same.reverse();
      expect(same.pop() == 1);
      expect(same.pop(0) == 8);
      same.insert(1, 7);
      expect(printed(same) == "[5, 7, 2]");
      expect(same.remove(7));
      expect(same.contains(2));
      same.clear();
    });
    CHECK(list.empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_dict") {
    const kin::Manager manager;
    const auto dict = manager.dict<std::string, int>({{"foo", 5}});
    expect_of_child(dict, [](const auto& same) {
      using Items = std::vector<std::pair<std::string, int>>;
      expect(same.size() == 1);
      expect(same["foo"] == 5);
      expect(same.get("foo") == 5);
      expect(same.get("none", 9) == 9);
      expect(!same.try_get("none"));
      expect(same.items() == Items{{"foo", 5}});
      expect(same.keys() == std::vector<std::string>{"foo"});
      expect(same.values() == std::vector{5});
      expect(same.copy() == Items{{"foo", 5}});
      expect(same.setdefault("bar", 6) == 6);
      expect(same.setdefault("bar", 7) == 6);
      same.update({{"foo", 1}, {"baz", 2}});
      expect(printed(same) == R"({"foo": 1, "bar": 6, "baz": 2})");
      expect(same.popitem() == std::pair<std::string, int>("baz", 2));
      expect(same.pop("foo") == 1);
      expect(same.contains("bar"));
      expect(same.erase("bar"));
    });
    CHECK(dict.empty());
  }

  TEST_CASE_FIXTURE(Trial, "test_value") {
    const kin::Manager manager;
    const auto value = manager.value<int>(1);
    expect_of_child(value, [](const auto& same) {
      expect(same.load() == 1);
      same.store(2);
      expect(same.fetch_add(3) == 2);
    });
    CHECK(value.load() == 5);
  }

  TEST_CASE_FIXTURE(Trial, "test_array") {
    const kin::Manager manager;
    const auto array = manager.array<int>({0, 1});
    expect_of_child(array, [](const auto& same) {
      expect(same.get(0) == 0);
      expect(same.get(1) == 1);
      expect(same.size() == 2);
      expect(same.copy() == std::vector{0, 1});
      same.set(0, 7);
    });
    CHECK(array.copy() == std::vector{7, 1});
  }

  TEST_CASE_FIXTURE(Trial, "test_namespace") {
    const kin::Manager manager;
    const auto names = manager.name_space();
    names["x"] = 0;
    names["y"] = 1;
    expect_of_child(names, [](const auto& same) {
      expect(same.template get<int>("x") == 0);
      const int y = same["y"];
      expect(y == 1);
      same["x"] = "text";
    });
    CHECK(names.get<std::string>("x") == "text");
  }

  // Better than Python's: what a killed process held, or had been handed, is there for the others.
  TEST_CASE_FIXTURE(Trial, "test_holders_that_die") {
    const kin::Manager manager;
    const auto lock = manager.lock();
    Lingerer holder(lock, lock_it);
    CHECK(holder.is_killed());
    CHECK(lock.try_lock_for(patience));
    CHECK(lock.owner_died());
    lock.unlock();

    const auto permits = manager.bounded_semaphore(1);
    Lingerer user(permits, acquire_it);
    CHECK(user.is_killed());
    CHECK(permits.try_acquire_for(patience));

    const auto queue = manager.queue<int>();
    kin::Process taker([queue] { static_cast<void>(queue.get()); });
    taker.start();
    CHECK(eventually([&] { return manager.statistics().parked == 1; }));
    taker.kill();
    CHECK(end_of(taker) == -SIGKILL);
    queue.put(5);
    CHECK(queue.get_for(patience) == 5);
  }
}
