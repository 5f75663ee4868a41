// SPDX-License-Identifier: BSL-1.0
//
// demo: add_done_callback on processes and on threads: which process and which thread runs what
//
// With threads the callback runs in the worker thread that ran the call. With processes it can't: a
// worker does not have the parent's variables. There a thread of the parent's runs it.

#include <kin/kin.hpp>

#include <future>
#include <iostream>
#include <string>
#include <string_view>

#include <sys/syscall.h>
#include <unistd.h>

namespace {

/// Linux gives each thread a number; that of a process's first thread is the pid.
pid_t thread_id() { return static_cast<pid_t>(::syscall(SYS_gettid)); }

struct Place {
  pid_t process = 0;
  pid_t thread = 0;
  bool operator==(const Place&) const = default;
};

Place here() { return {::getpid(), thread_id()}; }

Place place_of_call(const kin::Queue<bool>& may_end) {
  static_cast<void>(may_end.get());
  return here();
}

std::string text(const Place& place) {
  return "process " + std::to_string(place.process) + ", thread " + std::to_string(place.thread);
}

std::string_view name_of(const Place& place, const Place& of_call) {
  if (place == here()) return "the main thread";
  if (place == of_call) return "the thread that ran the call";
  return place.process == ::getpid() ? "a thread of this process" : "another process";
}

template <typename Executor>
void show(std::string_view what) {
  Executor executor(2);
  const kin::Queue<bool> may_end;
  const kin::Future<Place> call = executor.submit(place_of_call, may_end);

  std::promise<Place> promise;
  call.add_done_callback([&promise](const kin::Future<Place>& done) {
    static_cast<void>(done.result());  // it is there
    promise.set_value(here());
  });
  may_end.put(true);
  const Place callback = promise.get_future().get();

  // The call is over by now.
  Place late;
  call.add_done_callback([&late](const kin::Future<Place>& /*done*/) { late = here(); });

  const Place of_call = call.result();
  std::cout << what << '\n';
  std::cout << "  the main thread: " << text(here()) << '\n';
  std::cout << "  the call:        " << text(of_call) << '\n';
  std::cout << "  the callback:    " << text(callback) << '\n';
  std::cout << what << ": the callback ran in " << name_of(callback, of_call) << '\n';
  std::cout << what << ": one that came too late, at once, in " << name_of(late, of_call) << '\n';
}

}  // namespace

int main() {
  show<kin::ProcessPoolExecutor>("processes");  // before threads: a fork copies only one
  show<kin::ThreadPoolExecutor>("threads");
}
