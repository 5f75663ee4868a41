// SPDX-License-Identifier: BSL-1.0

// A sender or a receiver of a message in pieces was killed in the middle of it; and so is whoever comes next
// and clears up: a sender, or a reader that waits for a piece and finds that nobody will put it.
//
// Fails when wait_for_piece() does not look after the sender.

#include "crash/prove.hpp"
#include "crash/streams.hpp"
#include "support/shared_page.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

using crash::At;
using crash::Bystander;
using crash::Bytes;
using crash::four_rings;
using crash::little;
using crash::Moment;
using crash::next_large;
using crash::receive_bytes_to_end;
using crash::receive_bytes_up_to;
using crash::require;
using crash::stream_around;
using crash::three_pieces;
using Pipe = crash::BytesPipe;
using namespace std::chrono_literals;

namespace {

/// What a killed reader had received before.
struct Seen {
  std::atomic<int> whole;
  std::atomic<int> torn;
};

}  // namespace

TEST_SUITE("pipe stream recovery") {
  TEST_CASE("whoever sends next is killed too") {
    Pipe pipe;
    crash::prove({
        .name = "send of 3 pieces after a killed one",
        .prepare = [&] { pipe.prepare(); },
        .operation = [&] { pipe.writer().send_bytes(three_pieces); },
        .check = [&](const Moment& moment) -> std::string {
          std::string outcome;
          for (const Bytes& bytes : receive_bytes_to_end(pipe)) {
            require(bytes == three_pieces || bytes == next_large, "a part was received");
            outcome += bytes == three_pieces ? '1' : '2';
          }
          require(outcome.size() == 2 || !(moment.first_completed && moment.completed),
                  "both returned and a message is lost");
          return outcome.empty() ? "none" : outcome;
        },
        .expected = {"none", "1", "2", "12"},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { pipe.writer().send_bytes(next_large); },
        .budget = 3s,
    });
  }

  TEST_CASE("whoever receives next is killed too") {
    Pipe pipe;
    crash::prove({
        .name = "recv of 3 pieces after a killed one",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(three_pieces);
              pipe.writer().send_bytes(next_large);
              pipe.writer().send_bytes(little);
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<Bytes> found = receive_bytes_to_end(pipe);
          const std::vector<Bytes> all{three_pieces, next_large, little};
          require(!found.empty() && std::equal(found.rbegin(), found.rend(), all.rbegin()),
                  "messages are lost, or torn");
          require(found.size() == 1 || !(moment.first_completed && moment.completed),
                  "both returned and a message is still there");
          return std::to_string(found.size());
        },
        .expected = {"1", "2", "3"},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .budget = 3s,
    });
  }

  TEST_CASE("whoever sends behind a killed receiver is killed too") {
    Pipe pipe;
    crash::prove({
        .name = "send after a killed recv of 3 pieces",
        .prepare =
            [&] {
              pipe.prepare();
              pipe.writer().send_bytes(three_pieces);
              pipe.writer().send_bytes(little);
            },
        .operation = [&] { static_cast<void>(pipe.reader().recv_bytes()); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<Bytes> found = receive_bytes_to_end(pipe);
          const std::vector<Bytes> all{three_pieces, little, next_large};
          const bool is_taken = found.front() != three_pieces;
          const bool is_sent = found.back() == next_large;
          require(std::equal(found.begin(), found.end(), all.begin() + (is_taken ? 1 : 0),
                             all.end() - (is_sent ? 0 : 1)),
                  "messages are lost, or torn");
          require(is_taken || !moment.first_completed, "recv() returned and it is still there");
          require(is_sent || !moment.completed, "send() returned and it is lost");
          return std::string(is_taken ? "taken" : "still there") + (is_sent ? ", sent" : "");
        },
        .expected = {"taken", "still there", "taken, sent", "still there, sent"},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery = [&] { pipe.writer().send_bytes(next_large); },
        .budget = 3s,
    });
  }

  TEST_CASE("a reader that takes over from a killed sender is killed too") {
    const Bytes two_pieces = crash::bytes_of(std::size_t{33} << 10, 6);
    crash::FreshPipe<Bytes> pipe;
    const crash::SharedPage<Seen> seen;
    crash::prove({
        .name = "recv after a killed send of 2 pieces",
        .prepare =
            [&] {
              seen->whole = seen->torn = 0;
              pipe.prepare();
            },
        .operation = [&] { pipe.writer().send(two_pieces); },
        .check = [&](const Moment& moment) -> std::string {
          const std::vector<Bytes> found = crash::receive_to_end(pipe.reader());
          const std::size_t count = found.size() + static_cast<std::size_t>(seen->whole);
          require(seen->torn == 0 && count <= 1, "a part was received, or it came twice");
          require(found.empty() || found[0] == two_pieces, "it is torn");
          require(count == 1 || !(moment.first_completed && moment.completed), "it is lost");
          return found.empty() ? "gone" : "still there";
        },
        .expected = {"gone", "still there"},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .let_go = [&] { pipe.close_sending(); },
        .recovery =
            [&] {
              if (const auto got = pipe.reader().try_recv()) {
                ++(crash::are_same(*got, two_pieces) ? seen->whole : seen->torn);
              }
            },
        .budget = 3s,
    });
  }

  // Its ring was full: the reader has 31 pieces, and then waits.
  TEST_CASE("a reader that waits for a piece of a killed sender is killed") {
    Pipe pipe;
    crash::Scenario scenario{
        .name = "recv of 31 pieces, and no more",
        .prepare =
            [&] {
              pipe.prepare();
              const Bystander sender([&]() -> std::string {
                pipe.writer().send_bytes(four_rings);
                return "";
              });
              require(sender.sleeps_by(crash::Clock::now() + 5s), "the ring is not full");
            },
        .operation = [&] { static_cast<void>(pipe.reader().try_recv()); },
        .check = [&](const Moment&) -> std::string {
          pipe.writer().send_bytes(little);
          require(receive_bytes_up_to(pipe, little).size() == 1, "a part was received");
          return "dropped";
        },
        .expected = {"dropped"},
        .at = At::every_change,
        .watch = [&] { return stream_around(pipe); },
        .lead = {.word = [&] { return &pipe.channel().head; }, .stores = 31},
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "recv of 31 pieces, and the end";
    scenario.operation = [&] {
      pipe.close_sending();
      require(crash::ends([&] { return pipe.reader().recv_bytes(); }), "a part was received");
    };
    scenario.lead.window = 40;  // to where it throws, which is long
    scenario.let_go = [&] { pipe.close_sending(); };
    scenario.check = [&](const Moment&) -> std::string {
      require(receive_bytes_to_end(pipe).empty(), "a part was received");
      return "dropped";
    };
    crash::prove(scenario);
  }
}
