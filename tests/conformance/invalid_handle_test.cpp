// SPDX-License-Identifier: BSL-1.0
//
// Ends without a descriptor, against CPython's TestInvalidHandle.
//
// Fails when:
//   look() in connection/end.cpp does not see POLLNVAL: test_invalid_handles, and closed behind kin's back

#include "trial.hpp"

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

using namespace trial;

namespace {

// Whether it throws SystemError with EBADF.
template <typename Call>
bool is_told(Call call) {
  try {
    static_cast<void>(call());
    return false;
  } catch (const kin::SystemError& error) {
    return error.code().value() == EBADF;
  }
}

}  // namespace

TEST_SUITE("invalid_handle") {
  // An end can't be made from a number, only from nothing; but others may close its descriptor.
  TEST_CASE_FIXTURE(Trial, "test_invalid_handles") {
    const kin::Connection<int> nothing;
    CHECK_THROWS_AS(static_cast<void>(nothing.poll()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(nothing.fileno()), std::logic_error);
    static_assert(!std::is_constructible_v<kin::Connection<int>, int>);

    CHECK(outcome([] {
            const auto [reader, writer] = kin::SimplexPipe<int>();
            const int fd = writer.fileno();
            ::close(fd);
            bool told = false;
            try {
              for (int i = 0; i < 1'000'000; ++i) writer.send(i);
            } catch (const kin::SystemError& error) {
              told = error.code().value() == EBADF;
            }
            expect(told);
            expect(reader.recv() == 0);  // what was sent is there
            // Something has to be there for the end to close.
            const kin::UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            if (other.get() != fd) expect(::dup2(other.get(), fd) == fd);
          }) == 0);
  }

  // As daemonizing code does.
  TEST_CASE_FIXTURE(Trial, "ends whose descriptors were closed behind kin's back") {
    CHECK(outcome([] {
            const auto [reader, writer] = kin::SimplexPipe<int>();
            const auto [first, second] = kin::Pipe<std::string>();
            writer.send(1);
            expect(::close_range(3, ~0U, 0) == 0);
            // What is there is there; nothing more can be told.
            expect(reader.poll() && reader.poll_for(patience));
            expect(reader.recv_for(patience) == 1);
            for (const auto limit : {std::chrono::seconds(patience), 0s}) {
              expect(is_told([&] { return reader.poll_for(limit); }));
              expect(is_told([&] { return reader.recv_for(limit); }));
              expect(is_told([&] { return first.poll_for(limit); }));
              expect(is_told([&] { return first.recv_for(limit); }));
              expect(is_told([&] { return kin::wait_any({reader}, limit); }));
              expect(is_told([&] { return kin::wait_any({first, second}, limit); }));
            }
            expect(is_told([&] { return reader.poll(); }));
            expect(is_told([&] { return reader.try_recv(); }));
            expect(is_told([&] { return reader.recv(); }));
            expect(is_told([&] { return first.recv_bytes(); }));
            expect(is_told([&] { return kin::wait_any({reader}); }));
          }) == 0);
  }
}
