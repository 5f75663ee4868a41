// SPDX-License-Identifier: BSL-1.0

#include "memory/descriptor_store.hpp"

#include "base/descriptor_packet.hpp"
#include "memory/arena.hpp"
#include "memory/descriptor_queue.hpp"

#include "descriptor_room.hpp"
#include "frame.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

using kin::UniqueFd;
using kin::detail::bytes_of;
using kin::detail::DescriptorQueue;
using kin::detail::DescriptorStore;
using unit::error_of;
using unit::leave_room_for;
using unit::open_numbers;
using Id = std::uint64_t;

namespace {

// The frame of a case that leaves nothing in the store. What is there before stays: bells of queues.
class StoreFrame : unit::Frame {
 public:
  StoreFrame() = default;
  StoreFrame(const StoreFrame&) = delete;
  StoreFrame& operator=(const StoreFrame&) = delete;
  ~StoreFrame() {
    CHECK(stored_now() == before_);
    if (before_ > 0) return;
    DescriptorQueue::Scan scan;
    CHECK_FALSE(scan.next());
    CHECK(scan.saw_all());
  }

 private:
  static std::ptrdiff_t stored_now() {
    const auto& seats = kin::detail::arena().descriptors->seats;
    return std::ranges::count_if(seats, [](const auto& seat) { return seat.id != 0U; });
  }
  std::ptrdiff_t before_ = stored_now();
};

struct Pipe {
  UniqueFd out;
  UniqueFd in;

  Pipe() {
    std::array<int, 2> fds{};
    REQUIRE(::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) == 0);
    out.reset(fds[0]);
    in.reset(fds[1]);
  }
  // What is in it: "end" when nobody can write any more.
  [[nodiscard]] std::string read() const {
    std::array<char, 100> text{};
    const auto count = ::read(out.get(), text.data(), text.size());
    if (count == 0) return "end";
    if (count < 0) return errno == EAGAIN ? "nothing yet" : "error";
    return {text.data(), static_cast<std::size_t>(count)};
  }
};

bool write_to(const UniqueFd& fd, std::string_view text) {
  return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

// Stores descriptors by a new id.
Id stored(const std::vector<int>& descriptors) {
  const Id id = DescriptorStore::new_id();
  REQUIRE(DescriptorStore::store(id, descriptors));
  return id;
}

// A file with a lock of this process on it.
UniqueFd locked_file() {
  UniqueFd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  REQUIRE(file);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  REQUIRE(::fcntl(file.get(), F_SETLK, &lock) == 0);
  return file;
}

// By another process's judgement.
bool is_locked(const UniqueFd& file) {
  return unit::answer_of([&] {
           struct flock lock {};
           lock.l_type = F_WRLCK;
           ::fcntl(file.get(), F_GETLK, &lock);
           return lock.l_type == F_UNLCK ? "free" : "locked";
         }) == "locked";
}

}  // namespace

TEST_SUITE("descriptor_store") {
  TEST_CASE_FIXTURE(StoreFrame, "what is stored lives on when it is closed, and is fetched") {
    Pipe pipe;
    const Id id = stored({pipe.out.get(), pipe.in.get()});
    pipe.in.reset();
    for (const std::string_view text : {"once", "again"}) {
      const auto fetched = DescriptorStore::fetch(id);
      REQUIRE(fetched.size() == 2);
      for (const UniqueFd& fd : fetched) CHECK(::fcntl(fd.get(), F_GETFD) == FD_CLOEXEC);
      CHECK(write_to(fetched[1], text));
      CHECK(pipe.read() == text);
    }
    CHECK(pipe.read() == "nothing yet");
    DescriptorStore::discard(id);
    CHECK(pipe.read() == "end");
  }

  TEST_CASE_FIXTURE(StoreFrame, "several ids are fetched and discarded in any order") {
    for (const std::array<std::size_t, 4> order :
         {std::array<std::size_t, 4>{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}, {1, 3, 0, 2}}) {
      std::array<Pipe, 4> pipes;
      std::array<Id, 4> ids{};
      for (std::size_t i = 0; i < 4; ++i) {
        ids[i] = stored({pipes[i].in.get()});
        pipes[i].in.reset();
      }
      for (std::size_t done = 0; done < 4; ++done) {
        for (std::size_t left = done; left < 4; ++left) {
          const std::string text = std::to_string(left);
          CHECK(write_to(DescriptorStore::fetch(ids[order[left]]).at(0), text));
          CHECK(pipes[order[left]].read() == text);
        }
        DescriptorStore::discard(ids[order[done]]);
        // At once, although others lie before it.
        CHECK(pipes[order[done]].read() == "end");
      }
    }
  }

  TEST_CASE_FIXTURE(StoreFrame, "one id has up to 253 descriptors") {
    const std::vector<int> most(253, 0);
    const Id id = stored(most);
    CHECK(DescriptorStore::fetch(id).size() == 253);
    DescriptorStore::discard(id);
    const std::vector<int> too_many(254, 0);
    CHECK_THROWS_AS(DescriptorStore::store(DescriptorStore::new_id(), too_many),
                    kin::SerializationError);
  }

  TEST_CASE_FIXTURE(StoreFrame, "a full store refuses, and takes again when one is gone") {
    const std::array standard{0};
    std::vector<Id> ids;
    try {
      Id id = 0;
      while (id = DescriptorStore::new_id(), DescriptorStore::store(id, standard)) {
        ids.push_back(id);
      }
      CHECK(ids.size() <= kin::detail::arena().descriptors->capacity);
      CHECK(ids.size() > 500);
      for (const std::size_t i : {ids.size() - 1, ids.size() / 2, std::size_t{0}}) {
        CHECK_FALSE(DescriptorStore::store(DescriptorStore::new_id(), standard));
        DescriptorStore::discard(ids[i]);
        ids[i] = stored({0});
      }
    } catch (const kin::SystemError& error) {
      CHECK(error.code().value() == ETOOMANYREFS);  // the limit of one who is not root came first
    }
    for (const std::size_t i : {std::size_t{0}, ids.size() / 2, ids.size() - 1}) {
      CHECK(DescriptorStore::fetch(ids[i]).size() == 1);
    }
    for (const Id id : ids) DescriptorStore::discard(id);
  }

  TEST_CASE_FIXTURE(StoreFrame, "at the user's limit, what is discarded behind others makes room") {
    CHECK(unit::answer_of([]() -> std::string {
            // Root has no limit; another user may have something on its way elsewhere.
            if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) != 0) return "stays root";
            rlimit limit{};
            ::getrlimit(RLIMIT_NOFILE, &limit);
            limit.rlim_cur = 60;
            ::setrlimit(RLIMIT_NOFILE, &limit);
            std::vector<Id> ids;
            const auto fill = [&] {
              for (Id id = DescriptorStore::new_id(); DescriptorStore::store(id, std::array{0});
                   id = DescriptorStore::new_id()) {
                ids.push_back(id);
              }
            };
            for (int again = 0; again < 3; ++again) {
              if (error_of(fill) != ETOOMANYREFS) return "no limit";
              if (ids.size() < 10) return "no room";
              for (; ids.size() > 1; ids.pop_back()) DescriptorStore::discard(ids.back());
            }
            DescriptorStore::discard(ids.front());
            return "goes on";
          }) == "goes on");
  }

  TEST_CASE_FIXTURE(StoreFrame,
                    "what is fetched is no standard stream, even where these are closed") {
    const Id id = stored({0});
    CHECK(unit::answer_of([&] {
            for (int fd = 0; fd < 3; ++fd) ::close(fd);
            return DescriptorStore::fetch(id).at(0).get() > 2 ? "apart" : "in their place";
          }) == "apart");
    DescriptorStore::discard(id);
  }

  TEST_CASE_FIXTURE(StoreFrame, "what is stored by nobody is an error to fetch, none to discard") {
    CHECK_THROWS_WITH_AS(DescriptorStore::fetch(12345), "no descriptors are stored by the id 12345",
                         kin::Error);
    DescriptorStore::discard(12345);
    const Id other = stored({0});
    const Id id = stored({0});
    DescriptorStore::discard(id);
    DescriptorStore::discard(id);
    CHECK_THROWS_AS(DescriptorStore::fetch(id), kin::Error);
    CHECK(DescriptorStore::fetch(other).size() == 1);
    DescriptorStore::discard(other);
  }

  TEST_CASE_FIXTURE(StoreFrame, "a closed descriptor can't be stored, nor those beside it") {
    Pipe pipe;
    const std::array fds{pipe.in.get(), -1};
    CHECK(error_of([&] { DescriptorStore::store(DescriptorStore::new_id(), fds); }) == EBADF);
    pipe.in.reset();
    CHECK(pipe.read() == "end");
  }

  TEST_CASE_FIXTURE(StoreFrame, "who can't open all of them gets none, and others get them") {
    const Id id = stored({0, 1, 2, 0, 1, 2});
    for (const std::size_t room : {0U, 1U, 3U, 6U}) {
      CHECK(unit::answer_of([&]() -> std::string {
              leave_room_for(room);
              const std::size_t before = open_numbers().size();
              const int error = error_of([&] { DescriptorStore::fetch(id); });
              const std::size_t after = open_numbers().size();
              return std::to_string(error) + (after == before ? "" : " and some are left open");
            }) == std::to_string(EMFILE));
    }
    CHECK(unit::answer_of([&] {
            leave_room_for(7);
            return std::to_string(DescriptorStore::fetch(id).size());
          }) == "6");
    CHECK(DescriptorStore::fetch(id).size() == 6);
    DescriptorStore::discard(id);
  }

  TEST_CASE_FIXTURE(StoreFrame,
                    "who can't open any discards what is in front, and marks the rest") {
    Pipe front;
    Pipe behind;
    const Id first = stored({front.in.get()});
    const Id second = stored({0});
    const Id third = stored({behind.in.get()});
    front.in.reset();
    behind.in.reset();
    CHECK(unit::answer_of([&] {
            leave_room_for(0);
            DescriptorStore::discard(first);
            DescriptorStore::discard(third);
            return "done";
          }) == "done");
    CHECK(front.read() == "end");
    CHECK_THROWS_AS(DescriptorStore::fetch(third), kin::Error);
    CHECK(behind.read() == "end");  // the fetch cleaned up
    DescriptorStore::discard(second);
  }

  TEST_CASE_FIXTURE(StoreFrame, "one process stores and ends, another fetches, a third discards") {
    Pipe pipe;
    const Id id = DescriptorStore::new_id();
    CHECK(unit::answer_of([&] {
            return DescriptorStore::store(id, std::array{pipe.in.get()}) ? "stored" : "full";
          }) == "stored");
    pipe.in.reset();
    CHECK(unit::answer_of([&] {
            const auto fetched = DescriptorStore::fetch(id);
            return write_to(fetched.at(0), "from a child") ? "fetched" : "can't write";
          }) == "fetched");
    CHECK(pipe.read() == "from a child");
    CHECK(unit::answer_of([&] {
            DescriptorStore::discard(id);
            return "discarded";
          }) == "discarded");
    CHECK(pipe.read() == "end");
  }

  TEST_CASE_FIXTURE(StoreFrame,
                    "a socket whose only ends are stored is not garbage to the kernel") {
    auto [one, other] = kin::detail::make_packet_sockets();
    const Id id = stored({one.get(), other.get()});
    one.reset();
    other.reset();
    for (int i = 0; i < 3; ++i) {  // the kernel looks for garbage when a socket is closed
      auto [left, right] = kin::detail::make_packet_sockets();
      const int itself = left.get();
      kin::detail::send_packet(left.get(), bytes_of(itself), std::array{itself});
    }
    const auto fetched = DescriptorStore::fetch(id);
    REQUIRE(fetched.size() == 2);
    Id arrived = 0;
    CHECK(kin::detail::send_packet(fetched[0].get(), bytes_of(id), {}) == 0);
    CHECK(kin::detail::receive_packet(fetched[1].get(), bytes_of(arrived), 0) == 0);
    CHECK(arrived == id);
    DescriptorStore::discard(id);
  }

  TEST_CASE_FIXTURE(StoreFrame, "a process that moves what others stored keeps its file locks") {
    const UniqueFd file = locked_file();
    const Id id = stored({file.get()});
    const Id behind = stored({0});
    DescriptorStore::discard(behind);
    CHECK(is_locked(file));
    DescriptorStore::discard(id);
    CHECK(is_locked(file));
  }

  TEST_CASE_FIXTURE(StoreFrame, "where the program closed all descriptors, that is told") {
    Pipe pipe;
    const Id id = stored({pipe.in.get()});
    pipe.in.reset();
    CHECK(unit::answer_of([&]() -> std::string {
            for (const int fd : open_numbers()) ::close(fd);
            if (error_of([&] { DescriptorStore::store(id + 1, std::array{0}); }) != EBADF) {
              return "stores";
            }
            if (error_of([&] { DescriptorStore::fetch(id); }) != EBADF) return "fetches";
            DescriptorStore::discard(id);
            return "told";
          }) == "told");
    CHECK_THROWS_AS(DescriptorStore::fetch(id), kin::Error);
    CHECK(pipe.read() == "end");
  }

  TEST_CASE_FIXTURE(StoreFrame, "where the program has something else there, it is left alone") {
    Pipe pipe;
    const Id id = stored({pipe.in.get()});
    pipe.in.reset();
    CHECK(unit::answer_of([&]() -> std::string {
            const std::vector<int> numbers = open_numbers();
            const auto [mine, peer] = kin::detail::make_packet_sockets();
            for (const int fd : numbers) ::dup2(mine.get(), fd);
            if (error_of([&] { DescriptorStore::store(id + 1, std::array{0}); }) != EBADF) {
              return "stores";
            }
            if (error_of([&] { DescriptorStore::fetch(id); }) != EBADF) return "fetches";
            DescriptorStore::discard(id);
            char any = 0;
            const bool is_touched = kin::detail::receive_packet(peer.get(), bytes_of(any), 0) == 0;
            return is_touched ? "touched" : "left alone";
          }) == "left alone");
    const Id another = stored({0});
    CHECK(pipe.read() == "end");  // the store cleaned up
    DescriptorStore::discard(another);
  }

  TEST_CASE_FIXTURE(StoreFrame, "threads share it") {
    const auto come_and_go = [] {
      for (int i = 0; i < 200; ++i) {
        const Id one = DescriptorStore::new_id();
        const Id two = DescriptorStore::new_id();
        const bool all = DescriptorStore::store(one, std::array{0}) &&
                         DescriptorStore::store(two, std::array{1, 2}) &&
                         DescriptorStore::fetch(two).size() == 2 &&
                         DescriptorStore::fetch(one).size() == 1;
        DescriptorStore::discard(one);
        DescriptorStore::discard(two);
        if (!all) return false;
      }
      return true;
    };
    std::array<bool, 3> went_well{};
    std::vector<std::thread> threads;
    threads.reserve(went_well.size());
    for (bool& result : went_well) threads.emplace_back([&] { result = come_and_go(); });
    for (std::thread& thread : threads) thread.join();
    CHECK(std::ranges::all_of(went_well, [](bool one) { return one; }));
  }
}
