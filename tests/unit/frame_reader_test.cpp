// SPDX-License-Identifier: BSL-1.0

#include "wire/frame.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <vector>

namespace {

using kin::detail::frame_head;
using kin::detail::frame_head_size;
using kin::detail::FrameReader;
using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

Bytes frame_of(std::string_view text) {
  const auto head = frame_head(text.size());
  Bytes frame(head.begin(), head.end());
  const Bytes body = bytes_of(text);
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

Bytes head_that_says(std::uint64_t size) {
  const auto head = frame_head(size);
  return {head.begin(), head.end()};
}

// What comes out of a stream that arrives in pieces of that size.
std::vector<Bytes> read_in_pieces(std::span<const std::byte> stream, std::size_t piece) {
  FrameReader reader(1000);
  std::vector<Bytes> messages;
  while (!stream.empty()) {
    const auto next = stream.first(std::min(piece, stream.size()));
    const std::size_t missing = reader.missing();
    const std::size_t taken = reader.feed(next);
    REQUIRE(taken > 0);
    CHECK(taken >= std::min(missing, next.size()));
    stream = stream.subspan(taken);
    if (reader.is_whole()) messages.push_back(reader.take());
  }
  CHECK(!reader.is_inside());
  return messages;
}

TEST_SUITE("frame reader") {
  TEST_CASE("messages are the same however their bytes are cut") {
    Bytes stream;
    for (const std::string_view text : {"one", "", "three and more", "four"}) {
      const Bytes frame = frame_of(text);
      stream.insert(stream.end(), frame.begin(), frame.end());
    }
    for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
      CHECK(read_in_pieces(stream, piece) ==
            std::vector{bytes_of("one"), Bytes(), bytes_of("three and more"), bytes_of("four")});
    }
  }

  TEST_CASE("bytes behind a message are not taken") {
    FrameReader reader(1000);
    Bytes stream = frame_of("first");
    const std::size_t first = stream.size();
    stream.push_back(std::byte{1});
    CHECK(reader.feed(stream) == first);
    CHECK(reader.is_whole());
    CHECK(reader.missing() == 0);
    CHECK(reader.feed(std::span(stream).subspan(first)) == 0);
    CHECK(reader.take() == bytes_of("first"));
    CHECK(reader.feed(std::span(stream).subspan(first)) == 1);
    CHECK(reader.is_inside());
  }

  TEST_CASE(
      "a message that says it is too large is refused at its head, and nothing is taken after it") {
    for (const std::uint64_t size :
         {std::uint64_t{1001}, std::uint64_t{1} << 32, std::uint64_t{1} << 63, UINT64_MAX}) {
      FrameReader reader(1000);
      CHECK(reader.feed(head_that_says(size)) == frame_head_size);
      CHECK(reader.is_refused());
      CHECK(!reader.is_whole());
      CHECK(reader.missing() == 0);
      CHECK(reader.size() == size);
      CHECK(reader.feed(bytes_of("more")) == 0);
    }
    FrameReader reader(1000);
    reader.feed(head_that_says(1000));
    CHECK(!reader.is_refused());
    CHECK(reader.missing() == 1000);
  }

  TEST_CASE("memory grows with what came, and not with what a head says") {
    constexpr std::size_t large = std::size_t{1} << 40;
    FrameReader reader(large);
    reader.feed(head_that_says(large));
    reader.feed(bytes_of("a few"));
    CHECK(reader.missing() == large - 5);
    CHECK(reader.take().capacity() < 1000);
  }

  TEST_CASE("a message that lies in memory whole is found there") {
    const FrameReader reader(5);
    Bytes stream = frame_of("five!");
    CHECK(reader.find_whole(stream).size() == stream.size());
    stream.push_back(std::byte{1});
    CHECK(reader.find_whole(stream).size() == stream.size() - 1);
    for (std::size_t size = 0; size < stream.size() - 1; ++size) {
      CHECK(reader.find_whole(std::span(stream).first(size)).empty());
    }
    CHECK(reader.find_whole(frame_of("sixsix")).empty());
    CHECK(reader.find_whole(head_that_says(UINT64_MAX)).empty());
    CHECK(reader.find_whole(frame_of("")).size() == frame_head_size);
  }
}

}  // namespace
