// SPDX-License-Identifier: BSL-1.0

// A stream of bytes is the messages that its heads say, however it is cut into pieces: none before it
// is whole, none beyond the limit, and nothing behind a head that is refused. Memory grows with the
// bytes that came.
//
// The first byte says how large a message may be, the second how the rest is cut.

#include "fuzzing.hpp"

#include "wire/frame.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <random>

using kin::detail::frame_head_size;
using kin::detail::FrameReader;

namespace {

constexpr std::array<std::size_t, 5> limits{0, 1, 100, 3000, std::size_t{1} << 30};

struct Messages {
  std::vector<fuzz::Bytes> whole;
  bool is_refused = false;
  bool operator==(const Messages&) const = default;
};

// All at once, as the rule says: nothing to be wrong about.
Messages expected_of(std::span<const std::byte> stream, std::size_t limit) {
  Messages messages;
  while (stream.size() >= frame_head_size) {
    std::uint64_t size = 0;
    for (std::size_t i = 0; i < frame_head_size; ++i) {
      size |= std::to_integer<std::uint64_t>(stream[i]) << (8 * i);
    }
    if (size > limit) {
      messages.is_refused = true;
      break;
    }
    stream = stream.subspan(frame_head_size);
    if (size > stream.size()) break;
    const auto body = stream.first(static_cast<std::size_t>(size));
    messages.whole.emplace_back(body.begin(), body.end());
    stream = stream.subspan(body.size());
  }
  return messages;
}

// Feeds a piece, with a copy of its own so that the sanitizer sees who reads behind it.
void feed_piece(FrameReader& reader, std::span<const std::byte> piece, Messages& messages) {
  const fuzz::Bytes own(piece.begin(), piece.end());
  std::span<const std::byte> rest(own);
  while (!rest.empty() && !reader.is_refused()) {
    const std::size_t missing = reader.missing();
    const std::size_t taken = reader.feed(rest);
    fuzz::require(taken >= std::min(missing, rest.size()), "it takes what is missing");
    fuzz::require(taken > 0 && taken <= rest.size(), "it goes on");
    rest = rest.subspan(taken);
    if (!reader.is_whole()) continue;
    fuzz::require(!reader.is_refused(), "what is refused is not whole");
    fuzz::require(reader.feed(own) == 0, "nothing is added to a whole message");
    const std::uint64_t size = reader.size();
    messages.whole.push_back(reader.take());
    fuzz::require(size == messages.whole.back().size(), "its size is what its head said");
    fuzz::require(!reader.is_whole() && !reader.is_inside(), "the next one begins anew");
  }
  if (reader.is_refused()) {
    fuzz::require(reader.feed(own) == 0, "nothing is read behind a refused head");
    fuzz::require(reader.missing() == 0 && !reader.is_whole(), "it stays refused");
  }
  messages.is_refused = reader.is_refused();
}

Messages read_in_pieces(std::span<const std::byte> stream, std::size_t limit, unsigned cuts) {
  Messages messages;
  FrameReader reader(limit);
  std::minstd_rand random(cuts + 1);
  const std::size_t longest = cuts % 3 == 0 ? 1 : cuts % 3 == 1 ? 16 : 4096;
  while (!stream.empty()) {
    const std::size_t size = std::min<std::size_t>(stream.size(), 1 + random() % longest);
    feed_piece(reader, stream.first(size), messages);
    stream = stream.subspan(size);
  }
  return messages;
}

}  // namespace

namespace fuzz {

void try_bytes(std::span<const std::byte> input) {
  Choices choices(input);
  const std::size_t limit = limits[choices.below(limits.size())];
  const auto cuts = static_cast<unsigned>(choices.below(256));
  const auto stream = choices.rest();
  const Messages expected = expected_of(stream, limit);
  {
    const MemoryWatch memory;
    const Messages found = read_in_pieces(stream, limit, cuts);
    require(found == expected, "the messages are those of the stream");
    require(memory.most() <= 1024 + 16 * stream.size(), "memory grows with what came");
  }
  const FrameReader reader(limit);
  const auto first = reader.find_whole(stream);
  if (expected.whole.empty()) {
    require(first.empty(), "nothing is found that is not whole");
  } else {
    require(std::ranges::equal(first.subspan(frame_head_size), expected.whole.front()),
            "the first message is found in place");
  }
}

std::vector<Bytes> seeds() {
  const auto framed = [](const std::vector<std::size_t>& sizes) {
    Bytes bytes{std::byte{3}, std::byte{7}};
    for (const std::size_t size : sizes) {
      const auto head = kin::detail::frame_head(size);
      bytes.insert(bytes.end(), head.begin(), head.end());
      bytes.insert(bytes.end(), std::min<std::size_t>(size, 3000), std::byte{'x'});
    }
    return bytes;
  };
  return {framed({}), framed({0}), framed({5, 0, 300}), framed({std::size_t{1} << 63}),
          framed({3000, 1})};
}

}  // namespace fuzz
