// SPDX-License-Identifier: BSL-1.0
//
// Soft limits: each call that would wait gives up in a task whose limit has passed, and all that it
// would have waited for works on. Python has no such thing.
//
// Fails when:
//   give_up_if_passed() does nothing: "… gives up", all of them
//   gives_up() does not ask for exceptions: "destructors wait while the stack is unwound"
//   put_piece() checks for every piece: "a message that has begun is not torn"
//   is_set() does not compare the fork depth: "a process that a task starts"
//   ~SoftLimit() does not restore: "a condition gives up with its lock held"
//   and only a task with a limit makes one: "the next task is not concerned"
//   next_item() does not begin anew: "each item of a map has the whole time"
//   lock_again() has no scope without a limit: "a condition's lock is waited for"
//   result_of() does not wait it out: "a thread's call that was lent the stack is waited for"
//   WorkerPool::end() has no scope without a limit: "a pool of the task's own is ended"

#include "workers.hpp"

#include <atomic>
#include <concepts>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

using namespace trial;

namespace {

// Short, so that it has passed when the first slice is over.
constexpr auto soon = 20ms;
// A wait that would have given up, if it were to.
constexpr auto long_enough = 600ms;

using Numbers = kin::Queue<int>;

#define BOTH_POOLS kin::Pool, kin::ThreadPool

// Why a call gave up; empty if it did not.
template <typename Pool, typename F, typename... As>
std::string why_it_gives_up(Pool& pool, F function, const As&... arguments) {
  const auto future = pool.apply_async({.soft_timeout = soon}, function, arguments...);
  if (!future.wait_for(patience)) return "it goes on";
  try {
    static_cast<void>(future.get());
  } catch (const kin::TimeoutError& error) {
    return error.what();
  }
  return "";
}

template <typename Pool, typename F, typename... As>
bool gives_up(Pool& pool, F function, const As&... arguments) {
  const std::string why = why_it_gives_up(pool, function, arguments...);
  INFO(why);
  return why.find("soft limit of 20 ms has passed") != std::string::npos;
}

void await_stop() {
  while (!kin::stop_requested()) std::this_thread::yield();
}

int get(const Numbers& queue) { return queue.get(); }
void put(const Numbers& queue) { queue.put(2); }
void join_queue(const kin::JoinableQueue<int>& queue) { queue.join(); }
int recv(const kin::Reader<int>& reader) { return reader.recv(); }
bool poll(const kin::Reader<int>& reader) { return reader.poll_for(patience); }
void lock(const kin::Lock& lock) { const std::scoped_lock guard(lock); }
void lock_again(const kin::RLock& lock) { const std::scoped_lock guard(lock); }
void acquire(const kin::Semaphore& semaphore) { semaphore.acquire(); }
void wait_event(const kin::Event& event) { event.wait(); }
void wait_barrier(const kin::Barrier& barrier) { static_cast<void>(barrier.wait()); }
void wait_any(const Numbers& queue) { static_cast<void>(kin::wait_any({queue})); }
int get_forgotten() {
  const kin::Promise<int> promise;
  return promise.get_future().get();
}
void wait_for_all() {
  const kin::Promise<int> promise;
  static_cast<void>(kin::wait(std::vector{promise.get_future()}));
}
void wait_any_future() {
  const kin::Promise<int> promise;
  static_cast<void>(kin::wait_any({promise.get_future()}));
}
void wait_for_completed() {
  const kin::Promise<int> promise;
  for (const auto& future : kin::as_completed(std::vector{promise.get_future()})) future.wait();
}
void join_process(const Numbers& queue) {
  kin::Process child({.daemon = true}, [queue] { static_cast<void>(queue.get_for(patience)); });
  child.start();
  child.join();
}
int get_from_inner_pool(const Numbers& queue) {
  kin::Pool inner(1);
  return inner.apply(get, queue);
}
// The pool ends where no exception is on its way. Whether that was all well.
bool leave_inner_pool(const Numbers& queue) {
  int lines = 0;
  kin::set_log_sink([&](kin::LogLevel, std::string_view) { ++lines; });
  bool has_given_up = false;
  {
    kin::Pool inner(1);
    const auto future = inner.apply_async(get, queue);
    try {
      static_cast<void>(future.get());
    } catch (const kin::TimeoutError&) {
      has_given_up = true;
    }
  }
  kin::set_log_sink({});
  return has_given_up && (lines == 0 || !support::counts_threads_right);
}
void join_inner_pool(const Numbers& queue) {
  kin::Pool inner(1);
  const auto future = inner.apply_async(get, queue);
  inner.close();
  inner.join();
}

using Text = std::string;
const std::size_t small_size = 20'000;
const std::size_t large_size = 2'000'000;

// Fills a pipe; how many went in.
int send_until_it_gives_up(const kin::Writer<Text>& writer) {
  int count = 0;
  try {
    for (;; ++count) writer.send(Text(small_size, 'x'));
  } catch (const kin::TimeoutError&) {
    return count;
  }
}
void send_large(const kin::Writer<Text>& writer) { writer.send(Text(large_size, 'y')); }
bool is_large(const kin::Reader<Text>& reader) { return reader.recv() == Text(large_size, 'y'); }
bool send_large_and_look(const kin::Writer<Text>& writer) {
  send_large(writer);
  return kin::stop_requested();
}

// Behind the wait the lock is held, and the limit is what it was.
bool wait_twice(const kin::Lock& lock, const kin::Condition& condition, const Numbers& told) {
  std::unique_lock guard(lock);
  told.put(1);
  try {
    condition.wait(guard);
    return false;
  } catch (const kin::TimeoutError&) {
    if (!lock.locked() || !kin::stop_requested()) return false;
  }
  const Numbers empty;
  try {
    static_cast<void>(empty.get_for(patience));
  } catch (const kin::TimeoutError&) {
    return true;
  }
  return false;
}

}  // namespace

TEST_SUITE("soft_limit") {
  TEST_CASE_TEMPLATE("a wait for a message gives up", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const Numbers queue;
    const auto [reader, writer] = kin::SimplexPipe<int>();
    CHECK(gives_up(pool, get, queue));
    CHECK(gives_up(pool, recv, reader));
    CHECK(gives_up(pool, poll, reader));
    CHECK(gives_up(pool, wait_any, queue));
    queue.put(1);
    writer.send(2);
    CHECK(pool.apply(get, queue) == 1);
    CHECK(pool.apply(recv, reader) == 2);
  }

  TEST_CASE_TEMPLATE("a wait for room gives up", Pool, BOTH_POOLS) {
    const Trial trial;
    kin::Pool readers(1);
    Pool pool(1);
    const Numbers queue(1);
    queue.put(1);
    CHECK(gives_up(pool, put, queue));
    CHECK(queue.get() == 1);
    CHECK(queue.empty());
    const kin::JoinableQueue<int> tasks;
    tasks.put(1);
    CHECK(gives_up(pool, join_queue, tasks));
    CHECK(tasks.get() == 1);
    tasks.task_done();
    pool.apply(join_queue, tasks);
    const auto [reader, writer] = kin::SimplexPipe<Text>();
    const int sent = pool.apply({.soft_timeout = 300ms}, send_until_it_gives_up, writer);
    CHECK(sent > 0);
    CHECK(gives_up(pool, send_large, writer));
    for (int i = 0; i < sent; ++i) CHECK(reader.recv().size() == small_size);
    CHECK_FALSE(reader.try_recv());
    const auto sender = pool.apply_async(send_large, writer);
    const auto received = readers.apply_async(is_large, reader);
    CHECK(received.get_for(patience) == true);
    CHECK(sender.wait_for(patience));
  }

  TEST_CASE_TEMPLATE("a wait for a lock gives up", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const kin::Lock plain;
    const kin::RLock recursive;
    {
      const std::scoped_lock both(plain, recursive);
      CHECK(gives_up(pool, lock, plain));
      CHECK(gives_up(pool, lock_again, recursive));
    }
    CHECK_FALSE(plain.locked());
    pool.apply({.soft_timeout = patience}, lock, plain);
    pool.apply({.soft_timeout = patience}, lock_again, recursive);
    const kin::Semaphore semaphore(0);
    CHECK(gives_up(pool, acquire, semaphore));
    semaphore.release();
    CHECK(semaphore.value() == 1);
    const kin::Event event;
    CHECK(gives_up(pool, wait_event, event));
    event.set();
    pool.apply(wait_event, event);
    const kin::Barrier barrier(2);
    CHECK(gives_up(pool, wait_barrier, barrier));
    CHECK(barrier.broken());
  }

  TEST_CASE_TEMPLATE("a wait for work gives up", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const Numbers queue;
    CHECK(gives_up(pool, get_forgotten));
    CHECK(gives_up(pool, wait_for_all));
    CHECK(gives_up(pool, wait_any_future));
    CHECK(gives_up(pool, wait_for_completed));
    if constexpr (std::same_as<Pool, kin::Pool>) {
      CHECK(gives_up(pool, join_process, queue));
      CHECK(gives_up(pool, get_from_inner_pool, queue));
    }
  }

  TEST_CASE_FIXTURE(Trial, "a pool of the task's own is ended") {
    kin::Pool pool(1);
    const Numbers queue;
    CHECK(gives_up(pool, join_inner_pool, queue));
    // Its processes are gone: nobody else takes this.
    queue.put(5);
    CHECK(queue.get() == 5);
    CHECK(pool.apply([] { return kin::active_children().size(); }) == 0);
    // Often, as the pool may have ended before anybody would wait for it.
    for (int i = 0; i < 10; ++i) {
      CHECK(pool.apply({.soft_timeout = soon}, leave_inner_pool, queue));
    }
    queue.put(6);
    CHECK(queue.get() == 6);
  }

  TEST_CASE_TEMPLATE("a condition gives up with its lock held", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const kin::Lock lock;
    const kin::Condition condition;
    CHECK(pool.apply({.soft_timeout = soon}, wait_twice, lock, condition, Numbers()));
    CHECK_FALSE(lock.locked());
    // Nobody is left who would take it.
    condition.notify_one();
    const std::unique_lock guard(lock);
    CHECK_FALSE(condition.wait_for(guard, 1ms));
  }

  TEST_CASE_TEMPLATE("a condition's lock is waited for", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const kin::Lock lock;
    const kin::Condition condition;
    // Again where the limit had passed before we had the lock.
    bool has_waited = false;
    for (int i = 0; i < 20 && !has_waited; ++i) {
      const Numbers told;
      const auto future =
          pool.apply_async({.soft_timeout = 300ms}, wait_twice, lock, condition, told);
      REQUIRE(told.get_for(patience));
      {
        const std::scoped_lock guard(lock);  // its wait has let go of it
        has_waited = !future.wait_for(long_enough);
      }
      REQUIRE(future.wait_for(patience));
      CHECK(future.get());
    }
    CHECK(has_waited);
    CHECK_FALSE(lock.locked());
  }

  TEST_CASE_TEMPLATE("what need not wait succeeds, and each wait gives up", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const auto clean_up = [](const Numbers& queue, const kin::Lock& lock) {
      await_stop();
      int given_up = 0;
      for (int i = 0; i < 3; ++i) {
        queue.put(i);
        { const std::scoped_lock guard(lock); }
        expect(queue.get() == i);
        expect(!queue.try_get());
        expect(kin::wait_any({queue}, 0s).empty());
        try {
          static_cast<void>(queue.get_for(patience));
        } catch (const kin::TimeoutError&) {
          ++given_up;
        }
      }
      return given_up;
    };
    CHECK(pool.apply({.soft_timeout = soon}, clean_up, Numbers(), kin::Lock()) == 3);
  }

  TEST_CASE_TEMPLATE("a message that has begun is not torn", Pool, BOTH_POOLS) {
    const Trial trial;
    kin::Pool readers(1);  // a message that is torn is waited for without end
    Pool pool(1);
    const auto [reader, writer] = kin::SimplexPipe<Text>();
    const auto is_late = pool.apply_async({.soft_timeout = soon}, send_large_and_look, writer);
    CHECK(reader.poll_for(patience));
    const auto then = std::chrono::steady_clock::now() + long_enough;
    CHECK(eventually([&] { return std::chrono::steady_clock::now() > then; }));
    const auto received = readers.apply_async(is_large, reader);
    CHECK(received.get_for(patience) == true);
    CHECK(is_late.get_for(patience) == true);
  }

  TEST_CASE_TEMPLATE("the next task is not concerned", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const Numbers queue;
    CHECK(gives_up(pool, get, queue));
    const auto wait = [](const Numbers& empty) {
      return !empty.get_for(long_enough) && !kin::stop_requested();
    };
    CHECK(pool.apply(wait, queue));
    CHECK(pool.apply({.soft_timeout = patience}, wait, queue));
    CHECK_FALSE(kin::stop_requested());
  }

  TEST_CASE_TEMPLATE("each item of a map has the whole time", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const auto look = [](int item) {
      if (item % 2 == 0) await_stop();
      return kin::stop_requested();
    };
    const std::vector items{0, 1, 2, 3};
    const std::vector expected{true, false, true, false};
    CHECK(pool.map({.chunk_size = 4, .soft_timeout = 500ms}, look, items) == expected);
    std::vector<bool> one_by_one;
    for (const bool each : pool.imap({.chunk_size = 4, .soft_timeout = 500ms}, look, items)) {
      one_by_one.push_back(each);
    }
    CHECK(one_by_one == expected);
    // Not in place: a text is no plain value.
    const auto tell = [look](const std::string& item) {
      return std::string(look(std::stoi(item)) ? "late" : "in time");
    };
    CHECK(pool.map({.chunk_size = 2, .soft_timeout = 500ms}, tell,
                   std::vector<std::string>{"0", "1"}) ==
          std::vector<std::string>{"late", "in time"});
  }

  TEST_CASE_TEMPLATE("destructors wait while the stack is unwound", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const Numbers there;
    const Numbers back;
    const auto unwind = [](const Numbers& out, const Numbers& in) {
      struct Farewell {
        const Numbers& out;
        const Numbers& in;
        ~Farewell() {
          out.put(1);
          out.put(in.get_for(patience).value_or(-1));
        }
      };
      const Farewell farewell{out, in};
      static_cast<void>(in.get());
    };
    const auto future = pool.apply_async({.soft_timeout = soon}, unwind, there, back);
    REQUIRE(there.get_for(patience) == 1);
    CHECK_FALSE(future.wait_for(long_enough));
    back.put(2);
    CHECK(there.get_for(patience) == 2);
    CHECK_THROWS_AS(future.get(), kin::TimeoutError);
  }

  TEST_CASE_FIXTURE(Trial, "a managed lock is given back") {
    kin::Pool pool(1);
    const kin::Manager manager;
    const auto number = manager.make<int>(0);
    const auto lock = manager.lock();
    const auto semaphore = manager.semaphore(0);
    const kin::Event is_held;
    const auto hold = [](const kin::managed::Lock& held, const kin::managed::Semaphore& permits,
                         const kin::Event& told) {
      const std::scoped_lock guard(held);
      told.set();
      await_stop();
      std::this_thread::sleep_for(soon);
      permits.release();
    };
    const auto future = pool.apply_async({.soft_timeout = soon}, hold, lock, semaphore, is_held);
    REQUIRE(is_held.wait_for(patience));
    // The server has no time for it meanwhile.
    number.apply([](int& /*it*/) { std::this_thread::sleep_for(long_enough); });
    CHECK_NOTHROW(future.get());
    CHECK(semaphore.try_acquire());
    CHECK(lock.try_lock());
    lock.unlock();
  }

  TEST_CASE_FIXTURE(Trial, "a process that a task starts") {
    kin::Pool pool(1);
    const auto start = [](const Numbers& queue) {
      await_stop();
      kin::Process child([queue] {
        expect(!kin::stop_requested());
        expect(!queue.get_for(long_enough));
        queue.put(1);
      });
      child.start();
      // Not by a call of kin's, which would give up.
      while (child.is_alive()) std::this_thread::yield();
      return child.exit_code().value_or(-1);
    };
    CHECK(pool.apply({.soft_timeout = soon}, start, Numbers()) == 0);
  }

  TEST_CASE_TEMPLATE("threads that a task starts", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    const auto start = [](const Numbers& queue) {
      await_stop();
      bool has_waited = false;
      std::thread other([&] { has_waited = !queue.get_for(long_enough); });
      other.join();
      return has_waited;
    };
    CHECK(pool.apply({.soft_timeout = soon}, start, Numbers()));
  }

  TEST_CASE_FIXTURE(Trial, "a thread's call that was lent the stack is waited for") {
    kin::ThreadPool outer(1);
    kin::ThreadPool inner(1);
    const Gate gate;
    const auto lend = [&] {
      std::atomic<int> lent = 0;
      inner.apply([&] {
        gate.pass();
        lent = 1;
      });
      return lent.load();
    };
    const auto future = outer.apply_async({.soft_timeout = soon}, lend);
    CHECK(gate.await_one() != 0);
    CHECK_FALSE(future.wait_for(long_enough));
    gate.open();
    CHECK(future.get() == 1);
  }

  TEST_CASE_TEMPLATE("limits that make no sense", Pool, BOTH_POOLS) {
    const Trial trial;
    Pool pool(1);
    for (const auto limit : {0ms, -1ms}) {
      CHECK_THROWS_AS(static_cast<void>(pool.apply({.soft_timeout = limit}, square, 3)),
                      std::invalid_argument);
      CHECK_THROWS_AS(static_cast<void>(pool.map({.soft_timeout = limit}, square, std::vector{1})),
                      std::invalid_argument);
    }
  }
}
