// SPDX-License-Identifier: BSL-1.0
//
// Threads of this process, Boost.Asio's. Asio is given one token for each task, the tasks themselves
// stand in a queue of our own: so they can be called off while all threads are busy.

#include <kin/detail/thread_engine.hpp>

#include "base/fork_depth.hpp"
#include "base/log_text.hpp"
#include "base/own_thread.hpp"
#include "base/signal_mask.hpp"
#include "os/fork.hpp"
#include "pool/finishing.hpp"
#include "waiting/futex.hpp"
#include "waiting/soft_limit.hpp"

#include <kin/error.hpp>
#include <kin/log.hpp>

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace kin::detail {
namespace {
[[maybe_unused]] const bool forks_are_handled = set_fork_handlers();

/// Asio's pool, on threads of our own: when only some of its own can be had, it waits for those for ever.
class Threads {
 public:
  /// Throws SystemError.
  explicit Threads(std::size_t count) {
    try {
      while (threads_.size() < count) threads_.emplace_back([this] { pool_.attach(); });
    } catch (const std::system_error& error) {
      pool_.stop();
      end_all();
      throw SystemError("pthread_create", error.code().value());
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() {
    pool_.stop();
    end_all();
  }

  template <typename Function>
  void post(Function&& function) {
    boost::asio::post(pool_, std::forward<Function>(function));
  }
  /// Waits until all that was posted is done. One thread at a time, and none of its own.
  void join() {
    if (threads_.empty()) return;
    pool_.wait();
    end_all();
  }

 private:
  void end_all() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

  boost::asio::thread_pool pool_{0};
  std::vector<std::thread> threads_;
};

}  // namespace

class ThreadCrew : public std::enable_shared_from_this<ThreadCrew> {
 public:
  explicit ThreadCrew(ThreadSettings settings)
      : size_(static_cast<std::size_t>(settings.workers)),
        initializer_(std::move(settings.initializer)),
        threads_(size_) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool is_own_process() const noexcept { return creator_ == fork_depth; }

  void check_process() const {
    if (!is_own_process()) {
      throw std::logic_error("kin: the thread pool belongs to the process that made it");
    }
  }

  void queue(Task& task) {
    const std::scoped_lock lock(mutex_);
    if (!why_broken_.empty()) throw BrokenPool(why_broken_);
    if (!is_open_)
      throw std::logic_error("kin: the thread pool takes no more tasks: it was closed");
    pending_.emplace_back(task);
    // With the lock: a token finds its task, and where there is no memory for one, no other token has
    // taken the task.
    try {
      threads_.post([self = shared_from_this()] { self->run_one(); });
    } catch (...) {
      pending_.pop_back();
      throw;
    }
    ++open_tasks_;
  }

  /// Whether it was open.
  bool close() {
    const std::scoped_lock lock(mutex_);
    if (open_tasks_ == 0) all_done_.notify_all();
    return std::exchange(is_open_, false);
  }

  void cancel_pending() noexcept {
    // One by one, as there may be no memory for a list, and without the lock, as observers are called.
    // Meanwhile threads take some away from the front.
    std::unique_lock lock(mutex_);
    const std::uint64_t end = taken_ + pending_.size();
    for (std::uint64_t at = taken_; at < end; ++at) {
      at = std::max(at, taken_);
      if (at >= end) return;
      TaskRef task = pending_[static_cast<std::size_t>(at - taken_)];
      lock.unlock();
      task->cancel(false);
      task = TaskRef();
      lock.lock();
    }
  }

  bool join(Deadline deadline) {
    if (here() == this) {
      throw std::logic_error("kin: a thread pool can't be joined by one of its own threads");
    }
    std::unique_lock lock(mutex_);
    if (is_open_) {
      throw std::logic_error(
          "kin: the thread pool is open: close() or terminate() it before join()");
    }
    const auto is_done = [this] { return open_tasks_ == 0; };
    while (!is_done()) {
      if (deadline.has_passed()) return false;
      SoftLimit::check();
      const std::int64_t slice_ends = Deadline::now() + slice_nanoseconds;
      const std::chrono::nanoseconds until(std::min(deadline.nanoseconds(), slice_ends));
      all_done_.wait_until(lock, std::chrono::steady_clock::time_point(until));
    }
    lock.unlock();
    join_threads();
    return true;
  }

  void end() noexcept {
    const SoftLimit no_limit;
    try {
      if (here() == this) {
        // The last handle went in a task: a thread can't join itself.
        start_own_thread([self = shared_from_this()] { self->end(); }).detach();
        return;
      }
      join(Deadline::never());
    } catch (const std::exception& error) {
      log_text(LogLevel::error,
               [&] { return std::string("a thread pool could not be ended: ") + error.what(); });
    }
  }

 private:
  static ThreadCrew*& here() {
    static thread_local ThreadCrew* crew = nullptr;
    return crew;
  }

  void join_threads() {
    const std::scoped_lock lock(joining_);
    threads_.join();
  }

  void run_one() {
    initialize();
    TaskRef task;
    std::string why_broken;
    {
      const std::scoped_lock lock(mutex_);
      task = std::move(pending_.front());
      pending_.pop_front();
      ++taken_;
      why_broken = why_broken_;
    }
    if (why_broken.empty()) {
      static_cast<ThreadTask&>(*task).run();
    } else if (static_cast<ThreadTask&>(*task).begin()) {
      static_cast<ThreadTask&>(*task).fail(std::make_exception_ptr(BrokenPool(why_broken)));
    }
    task = TaskRef();
    const std::scoped_lock lock(mutex_);
    if (--open_tasks_ == 0) all_done_.notify_all();
  }

  void initialize() {
    if (here() == this) return;
    here() = this;
    const std::scoped_lock lock(initializing_);
    if (!initializer_ || !why_broken_.empty()) return;
    try {
      initializer_();
    } catch (const std::exception& error) {
      break_down(error.what());
    } catch (...) {
      break_down("what is no std::exception");
    }
  }

  void break_down(const std::string& what) {
    log_text(LogLevel::error, [&] { return "a thread pool's initializer threw: " + what; });
    const std::scoped_lock lock(mutex_);
    why_broken_ = "the thread pool's initializer threw: " + what;
  }

  int creator_ = fork_depth;
  std::size_t size_;
  Callback<void()> initializer_;
  Threads threads_;
  std::mutex joining_;
  std::mutex initializing_;
  std::mutex mutex_;  // guards what follows
  bool is_open_ = true;
  std::string why_broken_;
  std::deque<TaskRef> pending_;
  std::uint64_t taken_ = 0;  // so many stood before the first of them
  std::size_t open_tasks_ = 0;
  std::condition_variable all_done_;
};

std::shared_ptr<ThreadEngine> ThreadEngine::start(ThreadSettings settings) {
  constexpr std::ptrdiff_t most = 4096;
  if (settings.workers < 1 || settings.workers > most) {
    throw std::invalid_argument("kin: a thread pool has between 1 and " + std::to_string(most) +
                                " threads, not " + std::to_string(settings.workers));
  }
  return std::make_shared<ThreadEngine>(std::move(settings));
}

ThreadEngine::ThreadEngine(ThreadSettings settings) {
  const SignalsBlocked blocked;  // signals are for the application's threads
  crew_ = std::make_shared<ThreadCrew>(std::move(settings));
}

ThreadEngine::~ThreadEngine() {
  if (crew_->is_own_process()) {
    end();
  } else {
    // A copy in a child, without the threads: it stays as it is.
    // Without memory for it the child ends here. NOLINTNEXTLINE(bugprone-unhandled-exception-at-new)
    static_cast<void>(new std::shared_ptr<ThreadCrew>(std::move(crew_)));
  }
}

std::size_t ThreadEngine::workers() const noexcept { return crew_->size(); }

void ThreadEngine::check(const TaskLimits& limits) {
  if ((limits.hard | limits.retries) != 0) {
    throw std::invalid_argument(
        "kin: a thread can't be killed, nor die alone: the options timeout and retries are for "
        "processes");
  }
}

void ThreadEngine::queue(Task& task) {
  crew_->check_process();
  crew_->queue(task);
}

void ThreadEngine::close() {
  crew_->check_process();
  static_cast<void>(crew_->close());
}
void ThreadEngine::cancel_pending() noexcept {
  if (crew_->is_own_process()) crew_->cancel_pending();
}
void ThreadEngine::terminate() noexcept {
  if (!crew_->is_own_process()) return;
  crew_->close();
  crew_->cancel_pending();
}
bool ThreadEngine::join(Deadline deadline) {
  crew_->check_process();
  return crew_->join(deadline);
}
void ThreadEngine::end() noexcept {
  if (!crew_->is_own_process()) return;
  terminate();
  crew_->end();
}

void ThreadEngine::finish() noexcept {
  if (!crew_->is_own_process()) return;
  if (crew_->close()) crew_->end();
}

void ThreadEngine::finish_at_end() noexcept {
  if (!crew_->is_own_process()) return;
  static_cast<void>(crew_->close());
  crew_->end();
}

void finish_at_exit(const std::shared_ptr<ThreadEngine>& engine) { Finishing::add(engine); }

}  // namespace kin::detail
