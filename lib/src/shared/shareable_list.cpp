// SPDX-License-Identifier: BSL-1.0
//
// Lists as Python lays them out in a block, all words of 8 bytes, for n items:
//
//   n | n + 1 offsets into the data | data | n formats, 8 bytes each | n codes, a byte each
//
// A format is what Python's struct module calls the item; a code says what to make of it. Each item has a
// place of its own, of which only the content changes. Runs in any process and thread.

#include "shared/named_block.hpp"

#include <kin/error.hpp>
#include <kin/shareable_list.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

namespace kin {
namespace {

using Bytes = ShareableList::Bytes;
using Item = ShareableList::Item;

constexpr std::size_t word = 8;
constexpr std::size_t longest_place = 9'999'999 / word * word;  // seven digits in a format

enum class Code : char { number = 0, text = 1, bytes = 2, none = 3 };

using Format = std::array<char, word>;

// The bytes of a text or of bytes; nothing of the others.
std::optional<std::span<const std::byte>> content_of(const Item& item) {
  if (const auto* text = std::get_if<std::string>(&item)) return std::as_bytes(std::span(*text));
  if (const auto* bytes = std::get_if<Bytes>(&item)) return std::span(*bytes);
  return std::nullopt;
}

std::size_t place_for(const Item& item) {
  const auto content = content_of(item);
  if (!content) return word;
  if (content->size() >= longest_place) {
    throw std::length_error("kin: a text in a ShareableList has 9999991 bytes at most");
  }
  return (content->size() / word + 1) * word;
}

Format format_of(const Item& item, std::size_t place) {
  Format format{};
  const auto is = [&](std::string_view text) {
    text.copy(format.data(), format.size());
    return format;
  };
  if (content_of(item)) return is(std::to_string(place) + 's');
  if (std::holds_alternative<bool>(item)) return is("xxxxxxx?");
  if (std::holds_alternative<std::int64_t>(item)) return is("q");
  if (std::holds_alternative<double>(item)) return is("d");
  return is("xxxxxx?x");
}

Code code_of(const Item& item) {
  if (std::holds_alternative<std::string>(item)) return Code::text;
  if (std::holds_alternative<Bytes>(item)) return Code::bytes;
  return std::holds_alternative<std::monostate>(item) ? Code::none : Code::number;
}

[[noreturn]] void complain(const char* what) {
  throw SerializationError(std::string("kin: shared memory that is not a ShareableList: ") + what);
}

/// A list in its block.
class View {
 public:
  View(std::span<std::byte> block, const std::vector<std::size_t>& offsets)
      : data_(block.data() + (offsets.size() + 1) * word),
        formats_(data_ + offsets.back()),
        codes_(formats_ + (offsets.size() - 1) * word),
        offsets_(offsets) {}

  static std::size_t size_for(const std::vector<std::size_t>& offsets) {
    const std::size_t items = offsets.size() - 1;
    return (items + 2) * word + offsets.back() + items * (word + 1);
  }

  [[nodiscard]] std::size_t place(std::size_t at) const { return offsets_[at + 1] - offsets_[at]; }

  void set(std::size_t at, const Item& item) {
    const Format format = format_of(item, place(at));
    std::byte* const data = data_ + offsets_[at];
    std::memcpy(formats_ + at * word, format.data(), word);
    // If killed from here on: this item may be read as another one, or not at all.
    codes_[at] = static_cast<std::byte>(code_of(item));
    if (const auto content = content_of(item)) {
      std::ranges::copy(*content, data);
      std::ranges::fill(data + content->size(), data + place(at), std::byte());
      return;
    }
    std::array<std::byte, word> number{};
    if (const auto* truth = std::get_if<bool>(&item)) {
      number.back() = static_cast<std::byte>(*truth ? 1 : 0);
    } else if (const auto* whole = std::get_if<std::int64_t>(&item)) {
      std::memcpy(number.data(), whole, word);
    } else if (const auto* real = std::get_if<double>(&item)) {
      std::memcpy(number.data(), real, word);
    }
    std::ranges::copy(number, data);
  }

  [[nodiscard]] Item get(std::size_t at) const {
    Format format;
    std::memcpy(format.data(), formats_ + at * word, word);
    const auto* const end = std::ranges::find(format, '\0');
    const std::string_view text(format.data(), static_cast<std::size_t>(end - format.begin()));
    const std::byte* const data = data_ + offsets_[at];
    switch (static_cast<Code>(codes_[at])) {
      case Code::none: return {};
      case Code::number: return number(text, data);
      case Code::text: {
        const auto content = trimmed(text, data, at);
        return std::string(reinterpret_cast<const char*>(content.data()), content.size());
      }
      case Code::bytes: {
        const auto content = trimmed(text, data, at);
        return Bytes(content.begin(), content.end());
      }
    }
    complain("the code of an item");
  }

 private:
  static Item number(std::string_view format, const std::byte* data) {
    if (format == "q") {
      std::int64_t whole = 0;
      std::memcpy(&whole, data, word);
      return whole;
    }
    if (format == "d") {
      double real = 0;
      std::memcpy(&real, data, word);
      return real;
    }
    if (format == "xxxxxxx?") return data[word - 1] != std::byte();
    complain("the format of a number");
  }

  [[nodiscard]] std::span<const std::byte> trimmed(std::string_view format, const std::byte* data,
                                                   std::size_t at) const {
    std::size_t size = 0;
    const char* const end = format.data() + format.size();
    const auto read = std::from_chars(format.data(), end, size);
    if (read.ec != std::errc() || read.ptr + 1 != end || *read.ptr != 's' || size > place(at)) {
      complain("the format of a text");
    }
    while (size > 0 && data[size - 1] == std::byte()) --size;
    return {data, size};
  }

  std::byte* data_;
  std::byte* formats_;
  std::byte* codes_;
  const std::vector<std::size_t>& offsets_;
};

void write(std::span<std::byte> block, std::span<const Item> items,
           const std::vector<std::size_t>& offsets) {
  const std::uint64_t count = items.size();
  std::memcpy(block.data(), &count, word);
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const std::uint64_t offset = offsets[i];
    std::memcpy(block.data() + (i + 1) * word, &offset, word);
  }
  View view(block, offsets);
  for (std::size_t i = 0; i < items.size(); ++i) view.set(i, items[i]);
}

std::vector<std::size_t> offsets_for(std::span<const Item> items) {
  std::vector<std::size_t> offsets{0};
  for (const Item& item : items) offsets.push_back(offsets.back() + place_for(item));
  return offsets;
}

std::shared_ptr<detail::NamedBlock> block_of(std::span<const Item> items,
                                             const std::vector<std::size_t>& offsets,
                                             std::string_view name) {
  const auto size = static_cast<std::ptrdiff_t>(View::size_for(offsets));
  const auto fill = [&](std::span<std::byte> block) { write(block, items, offsets); };
  if (!name.empty()) return detail::NamedBlock::create(name, size, fill);
  return detail::NamedBlock::create_unnamed(
      size, [] { return detail::random_name(); }, fill);
}

// Nothing in a block is believed.
std::vector<std::size_t> offsets_in(std::span<const std::byte> block) {
  const auto word_at = [&](std::size_t at) {
    std::uint64_t number = 0;
    std::memcpy(&number, block.data() + at * word, word);
    return static_cast<std::size_t>(number);
  };
  const std::size_t words = block.size() / word;
  if (words < 2) complain("too small");
  const std::size_t items = word_at(0);
  if (items > words - 2) complain("its length");
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i <= items; ++i) offsets.push_back(word_at(i + 1));
  const auto is_no_place = [&](std::size_t left, std::size_t right) {
    return right > block.size() || right < left || right - left < word;
  };
  if (offsets.front() != 0 || std::ranges::adjacent_find(offsets, is_no_place) != offsets.end() ||
      View::size_for(offsets) > block.size()) {
    complain("where its items are");
  }
  return offsets;
}

}  // namespace

ShareableList::ShareableList(std::initializer_list<Item> items, std::string_view name)
    : ShareableList(offsets_for(items), items, name) {}

ShareableList::ShareableList(const std::vector<Item>& items, std::string_view name)
    : ShareableList(offsets_for(items), items, name) {}

// The name comes last: where there is no memory for the rest, none is left behind.
ShareableList::ShareableList(Offsets offsets, std::span<const Item> items, std::string_view name)
    : offsets_(std::make_shared<const Offsets>(std::move(offsets))),
      shm_(block_of(items, *offsets_, name)) {}

ShareableList ShareableList::open(std::string_view name) {
  return ShareableList(SharedMemory::open(name));
}

void ShareableList::attach(SharedMemory block) {
  offsets_.reset();
  if (!(block == SharedMemory())) {
    offsets_ = std::make_shared<const Offsets>(offsets_in(block.bytes()));
  }
  shm_ = std::move(block);
}

const ShareableList::Offsets& ShareableList::offsets() const {
  if (!offsets_) throw std::logic_error("kin: a ShareableList that names no block");
  return *offsets_;
}

std::size_t ShareableList::size() const { return offsets().size() - 1; }

ShareableList::Item ShareableList::get(std::size_t at) const {
  if (at >= size())
    throw std::out_of_range("kin: an item of a ShareableList that it does not have");
  return View(shm_.bytes(), offsets()).get(at);
}

void ShareableList::set(std::size_t at, const Item& item) const {
  if (at >= size())
    throw std::out_of_range("kin: an item of a ShareableList that it does not have");
  View view(shm_.bytes(), offsets());
  const auto content = content_of(item);
  if (content && content->size() > view.place(at)) {
    throw std::length_error("kin: a text of " + std::to_string(content->size()) +
                            " bytes in a place of a ShareableList that has " +
                            std::to_string(view.place(at)));
  }
  view.set(at, item);
}

std::optional<std::size_t> ShareableList::index(const Item& item) const {
  for (std::size_t at = 0; at < size(); ++at) {
    if (get(at) == item) return at;
  }
  return std::nullopt;
}

std::size_t ShareableList::count(const Item& item) const {
  std::size_t found = 0;
  for (std::size_t at = 0; at < size(); ++at) found += get(at) == item ? 1U : 0U;
  return found;
}

ShareableList ShareableList::copy(std::string_view name) const {
  std::vector<Item> items;
  for (std::size_t at = 0; at < size(); ++at) items.push_back(get(at));
  return ShareableList(items, name);
}

}  // namespace kin
