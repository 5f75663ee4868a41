// SPDX-License-Identifier: BSL-1.0

#include <kin/shareable_list.hpp>

#include "frame.hpp"

#include <kin/error.hpp>
#include <kin/queue.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <unistd.h>

using kin::ShareableList;
using kin::SharedMemory;
using Bytes = ShareableList::Bytes;
using Item = ShareableList::Item;

namespace {

static_assert(kin::Sendable<ShareableList>);
static_assert(std::ranges::input_range<const ShareableList>);

// This process keeps the socket to its tracker from its first block on.
struct BlockFrame {
  BlockFrame() { SharedMemory::create(1).unlink(); }
};
struct ListFrame : BlockFrame, unit::Frame {};

Bytes bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// Its name is gone when its case is.
class List : public ShareableList {
 public:
  using ShareableList::ShareableList;
  explicit List(const ShareableList& list) : ShareableList(list) {}
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() { shm().unlink(); }
};

// A block with the words of a list, as another program may have made it.
SharedMemory block_of(const std::vector<std::uint64_t>& words) {
  const auto block = SharedMemory::create(static_cast<std::ptrdiff_t>(words.size() * 8));
  std::ranges::copy(words, block.as<std::uint64_t>().begin());
  return block;
}

std::uint64_t format(std::string_view text) {
  std::uint64_t word = 0;
  std::memcpy(&word, text.data(), text.size());
  return word;
}

}  // namespace

TEST_SUITE("shareable_list") {
  TEST_CASE_FIXTURE(ListFrame, "it has its items, of all types") {
    const List list({1, 2.5, true, false, "text", std::monostate(), bytes_of("bytes"), ""});
    CHECK(list.size() == 8);
    CHECK(list.get<std::int64_t>(0) == 1);
    CHECK(list.get<double>(1) == 2.5);
    CHECK(list.get<bool>(2));
    CHECK_FALSE(list.get<bool>(3));
    CHECK(list.get<std::string>(4) == "text");
    CHECK(list.get(5) == Item());
    CHECK(list.get<Bytes>(6) == bytes_of("bytes"));
    CHECK(list.get<std::string>(7) == "");
    CHECK_THROWS_AS(static_cast<void>(list.get<double>(0)), std::bad_variant_access);
    CHECK_THROWS_AS(static_cast<void>(list.get(8)), std::out_of_range);
    CHECK_THROWS_AS(list.set(8, 1), std::out_of_range);
  }

  TEST_CASE_FIXTURE(ListFrame, "numbers at their limits") {
    using Whole = std::numeric_limits<std::int64_t>;
    using Real = std::numeric_limits<double>;
    const List list({Whole::min(), Whole::max(), -Real::infinity(), Real::denorm_min(), -1});
    CHECK(list.get<std::int64_t>(0) == Whole::min());
    CHECK(list.get<std::int64_t>(1) == Whole::max());
    CHECK(list.get<double>(2) == -Real::infinity());
    CHECK(list.get<double>(3) == Real::denorm_min());
    CHECK(list.get<std::int64_t>(4) == -1);
  }

  TEST_CASE_FIXTURE(ListFrame, "items change their types where they are") {
    const List list({1, "longer text", 3});
    const std::vector<Item> all = {7, -0.5, true, "x", bytes_of("\x01\x02"), std::monostate()};
    for (const Item& item : all) {
      for (std::size_t at = 0; at < 2; ++at) {
        list.set(at, item);
        CHECK(list.get(at) == item);
      }
      CHECK(list.get(2) == Item(3));
    }
    list.set(1, "longer text");
    CHECK(list.get<std::string>(1) == "longer text");
  }

  TEST_CASE_FIXTURE(ListFrame, "a text fills its place, and no more") {
    const List list({"0123456", "next", 1});
    list.set(0, "01234567");  // it had seven, its place has eight
    CHECK(list.get<std::string>(0) == "01234567");
    CHECK_THROWS_AS(list.set(0, "012345678"), std::length_error);
    CHECK_THROWS_AS(list.set(2, bytes_of("123456789")), std::length_error);
    CHECK(list.get<std::string>(0) == "01234567");
    CHECK(list.get<std::string>(1) == "next");
    CHECK(list.get<std::int64_t>(2) == 1);
    list.set(0, "0");
    CHECK(list.get<std::string>(0) == "0");
    list.set(0, std::string("a\0b\0\0", 5));
    CHECK(list.get<std::string>(0) == std::string("a\0b", 3));
    CHECK_THROWS_AS(ShareableList({std::string(9'999'992, 'x')}), std::length_error);
    const List longest({std::string(9'999'991, 'x'), "behind"});
    CHECK(longest.get<std::string>(0).size() == 9'999'991);
    CHECK(longest.get<std::string>(1) == "behind");
  }

  TEST_CASE_FIXTURE(ListFrame, "its layout is Python's") {
    const List list({1, "text", true, std::monostate()});
    const auto words = list.shm().as<std::uint64_t>();
    const std::vector<std::uint64_t> expected = {4,
                                                 0,
                                                 8,
                                                 16,
                                                 24,
                                                 32,
                                                 1,
                                                 format("text"),
                                                 std::uint64_t(1) << 56,
                                                 0,
                                                 format("q"),
                                                 format("8s"),
                                                 format("xxxxxxx?"),
                                                 format("xxxxxx?x")};
    CHECK(std::ranges::equal(words, expected));
    CHECK(list.shm().size() == expected.size() * 8 + 4);
    const auto codes = list.shm().bytes().last(4);
    CHECK(std::memcmp(codes.data(), "\0\1\0\3", 4) == 0);
  }

  TEST_CASE_FIXTURE(ListFrame, "it is searched, counted and gone through") {
    const List list({1, "a", 1, true, 1.0, "a", std::monostate()});
    CHECK(list.index("a") == 1);
    CHECK(list.index(1) == 0);
    CHECK(list.index(true) == 3);
    CHECK(list.index("b") == std::nullopt);
    CHECK(list.count("a") == 2);
    CHECK(list.count(1) == 2);
    CHECK(list.count({}) == 1);
    CHECK(list.count("b") == 0);
    std::vector<Item> items;
    for (const Item& item : list) items.push_back(item);
    CHECK(items == std::vector<Item>{1, "a", 1, true, 1.0, "a", std::monostate()});
    const List same(items);
    CHECK(std::ranges::equal(same, list));
    CHECK_FALSE(same == list);
  }

  TEST_CASE_FIXTURE(ListFrame, "an empty one") {
    const List list({});
    CHECK(list.empty());
    CHECK(list.begin() == list.end());
    CHECK(list.index(1) == std::nullopt);
    CHECK_THROWS_AS(static_cast<void>(list.get(0)), std::out_of_range);
    CHECK(ShareableList::open(list.shm().name()).empty());
  }

  TEST_CASE_FIXTURE(ListFrame, "a second handle sees what the first sets, and a copy does not") {
    const std::string name = "kin-list-" + std::to_string(::getpid());
    const List list({1, "text"}, name);
    CHECK(list.shm().name() == name);
    const auto same = ShareableList::open(name);
    CHECK(same == list);
    const List copy(list.copy(name + "-copy"));
    CHECK(copy.shm().name() == name + "-copy");
    same.set(0, "one");
    CHECK(list.get<std::string>(0) == "one");
    CHECK(copy.get<std::int64_t>(0) == 1);
    CHECK_THROWS_AS(ShareableList({1}, name), kin::SystemError);
    same.shm().close();
    CHECK_THROWS_AS(static_cast<void>(same.get(0)), std::logic_error);
  }

  TEST_CASE_FIXTURE(ListFrame, "it travels as its name") {
    const kin::Queue<ShareableList> queue;
    const List list({1, "text"});
    queue.put(list);
    queue.put(ShareableList());
    const ShareableList arrived = queue.get();
    CHECK(arrived == list);
    arrived.set(1, "set");
    CHECK(list.get<std::string>(1) == "set");
    CHECK_THROWS_AS(static_cast<void>(queue.get().size()), std::logic_error);
    {
      const List gone({1});
      queue.put(gone);
    }
    CHECK_THROWS_AS(static_cast<void>(queue.get()), kin::SystemError);
  }

  TEST_CASE_FIXTURE(ListFrame, "a block that is no list is refused") {
    const std::vector<std::vector<std::uint64_t>> blocks = {
        {0},                           // no offset
        {0, 8},                        // an item that is none
        {1, 0, 8},                     // too small for its item
        {1, 0, 0, 0, format("q"), 0},  // an item without a place
        {1, 8, 16, 1, format("q"), 0, 0},
        {2, 0, 8, 0, 1, 1, format("q"), format("q"), 0},
        {UINT64_MAX, 0, 8, 1, format("q"), 0},
        {1, 0, UINT64_MAX - 7, 1, format("q"), 0},
        {1, 0, 1 << 20, 1, format("q"), 0},
    };
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      CAPTURE(i);
      const auto block = block_of(blocks[i]);
      CHECK_THROWS_AS(ShareableList::open(block.name()), kin::SerializationError);
      block.unlink();
    }
  }

  TEST_CASE_FIXTURE(ListFrame, "an item that is none is refused, and can be set") {
    const auto block = block_of({1, 0, 8, 1, 0, 0});
    const List list(ShareableList::open(block.name()));
    const auto words = list.shm().as<std::uint64_t>();
    struct Wrong {
      std::string_view format;
      int code;
    };
    for (const Wrong& wrong : {Wrong{"q", 4}, Wrong{"q", 1}, Wrong{"8s", 0}, Wrong{"9s", 1},
                               Wrong{"s", 1}, Wrong{"8", 1}, Wrong{"-8s", 2}, Wrong{"8ss", 2},
                               Wrong{"", 0}, Wrong{"99999999", 1}, Wrong{"8s", 255}}) {
      CAPTURE(wrong.format);
      words[4] = format(wrong.format);
      words[5] = static_cast<std::uint64_t>(wrong.code);
      CHECK_THROWS_AS(static_cast<void>(list.get(0)), kin::SerializationError);
    }
    list.set(0, "whole");
    CHECK(list.get<std::string>(0) == "whole");
  }

  TEST_CASE("a handle that names none") {
    const unit::Frame frame;
    const ShareableList none;
    CHECK_THROWS_AS(static_cast<void>(none.size()), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(none.get(0)), std::logic_error);
    CHECK_THROWS_AS(none.set(0, 1), std::logic_error);
    CHECK_THROWS_AS(static_cast<void>(none.copy()), std::logic_error);
    CHECK(none == ShareableList());
  }
}
