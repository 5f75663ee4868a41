// SPDX-License-Identifier: BSL-1.0

// Any bytes are a message, or are told to be none: reading them gives a value or a
// SerializationError. What it takes in memory is bounded by a multiple of their number, which the
// type decides. A value that was read can be written, and is the same when it is read again.
//
// The first byte says as what type the others are read.

#include "fuzzing.hpp"

#include <kin/detail/archive.hpp>

#include <boost/serialization/base_object.hpp>
#include <boost/serialization/export.hpp>
#include <boost/serialization/valarray.hpp>

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <tuple>
#include <valarray>

using kin::SerializationError;
using kin::detail::InArchive;
using kin::detail::OutArchive;

namespace {

struct Point {
  short x = 0;
  bool valid = false;
  std::array<bool, 3> seen{};
};

// Member by member, and itself within itself.
struct Task {
  int id = 0;
  std::string name;
  std::vector<Task> parts;
};

// What a message may link in a ring, which nobody would free. So each run ends with cutting all
// that are left.
class Node {
 public:
  Node() { all().insert(this); }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual ~Node() { all().erase(this); }

  static void cut_rings() {
    std::vector<std::shared_ptr<Node>> cut;  // what one of them owned may be the next one
    for (Node* const node : all()) cut.push_back(std::move(node->next));
    cut.clear();
    fuzz::require(all().empty(), "an object without an owner was left behind");
  }

 private:
  static std::set<Node*>& all() {
    static std::set<Node*> nodes;
    return nodes;
  }

  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& name& next& back;
  }

  std::string name;
  std::shared_ptr<Node> next;
  std::weak_ptr<Node> back;
};

class Labelled : public Node {
 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Node>(*this) & label;
  }
  std::vector<std::string> label;
};

// Another class that has a name, and no place where a Node is wanted.
class Stranger {
 public:
  virtual ~Stranger() = default;

 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& what;
  }
  std::string what;
};
class OddStranger : public Stranger {
 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Stranger>(*this);
  }
};

// Boost's own way for a container.
class Samples {
 private:
  friend class boost::serialization::access;
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& samples;
  }
  std::valarray<double> samples;
};

struct Branch {
  std::unique_ptr<Branch> left;
  std::unique_ptr<Branch> right;
  std::unordered_map<int, std::unique_ptr<Branch>> more;
};

template <typename T>
fuzz::Bytes written(const T& value) {
  OutArchive out;
  kin::detail::encode(out, value);
  return {out.bytes().begin(), out.bytes().end()};
}

// For all of these types: what a byte of a message may become, and the room that is made ahead.
constexpr std::size_t memory_for_each_byte = 64;
constexpr std::size_t memory_for_itself = 8192;

template <typename T>
void try_type(std::span<const std::byte> input) {
  // a copy of its own size, so that the sanitizer sees a read behind its end
  const std::vector<std::byte> message(input.begin(), input.end());
  const auto limit = memory_for_itself + memory_for_each_byte * message.size();
  const fuzz::MemoryWatch memory;
  const auto watch = [&] {
    fuzz::require(memory.most() <= limit, "memory is bounded by a multiple of the message");
  };
  try {
    InArchive in(message);
    const T value = kin::detail::decode<T>(in);
    watch();
    const fuzz::Bytes once = written(value);
    InArchive again(once);
    const fuzz::Bytes twice = written(kin::detail::decode<T>(again));
    // elements of hashed containers may come in another order
    fuzz::require(once.size() == twice.size(), "what was written is read again");
  } catch (const SerializationError&) {
    watch();
  }
}

template <typename... T>
struct Types {
  static constexpr std::size_t count = sizeof...(T);

  static void try_one(std::size_t number, std::span<const std::byte> message) {
    std::size_t n = 0;
    ((n++ == number ? try_type<T>(message) : void()), ...);
  }
  // Each type's number stands before what it is when it is empty.
  static std::vector<fuzz::Bytes> empty_ones() {
    std::vector<fuzz::Bytes> all;
    (all.push_back(seed(all.size(), written(T()))), ...);
    return all;
  }
  static fuzz::Bytes seed(std::size_t number, const fuzz::Bytes& message) {
    fuzz::Bytes bytes{static_cast<std::byte>(number)};
    bytes.insert(bytes.end(), message.begin(), message.end());
    return bytes;
  }
};

using Words = std::vector<std::string>;
using Choice = std::variant<int, std::string, Words, std::optional<Point>>;
using Nodes = std::vector<std::shared_ptr<Node>>;
using All =
    Types<std::string, std::vector<int>, std::vector<bool>, Words, std::map<std::string, Words>,
          std::unordered_map<int, std::string>, std::set<std::pair<int, bool>>,
          std::unordered_multiset<std::string>, std::vector<Choice>,
          std::optional<std::tuple<int, bool, std::string>>, std::deque<std::list<std::u32string>>,
          std::forward_list<std::array<std::string, 2>>, std::bitset<13>, std::vector<Point>, Task,
          Nodes, std::unique_ptr<Node>, std::map<int, std::weak_ptr<Node>>,
          std::vector<std::shared_ptr<const std::string>>, Samples, Branch,
          std::vector<std::filesystem::path>, std::vector<std::vector<std::vector<bool>>>,
          std::pair<std::shared_ptr<Stranger>, std::shared_ptr<Node>>>;

template <typename T>
fuzz::Bytes seed_of(std::size_t number, const T& value) {
  return All::seed(number, written(value));
}

}  // namespace

BOOST_CLASS_EXPORT(Labelled)
BOOST_CLASS_EXPORT(OddStranger)

namespace fuzz {

void try_bytes(std::span<const std::byte> input) {
  Choices choices(input);
  const std::size_t number = choices.below(All::count);
  All::try_one(number, choices.rest());
  Node::cut_rings();
}

std::vector<Bytes> seeds() {
  std::vector<Bytes> all = All::empty_ones();
  Task nest;
  for (int i = 0; i < 30; ++i) {
    Task outer;
    outer.parts.push_back(std::move(nest));
    nest = std::move(outer);
  }
  all.push_back(seed_of(14, nest));
  all.push_back(seed_of(3, Words{"one", "two", ""}));
  all.push_back(seed_of(4, std::map<std::string, Words>{{"key", {"value"}}}));
  all.push_back(seed_of(8, std::vector<Choice>{7, std::string("x"), Words{"y"}, Point{1, true}}));
  all.push_back(seed_of(14, Task{1, "all", {Task{2, "part", {}}, Task{3, "part", {}}}}));
  const auto node = std::make_shared<Node>();
  all.push_back(seed_of(15, Nodes{node, std::make_shared<Labelled>(), node}));
  all.push_back(seed_of(16, std::unique_ptr<Node>(std::make_unique<Labelled>())));
  const std::shared_ptr<Stranger> stranger = std::make_shared<OddStranger>();
  all.push_back(seed_of(23, std::pair(stranger, node)));
  Branch branch;
  branch.left = std::make_unique<Branch>();
  branch.more.emplace(1, std::make_unique<Branch>());
  all.push_back(seed_of(20, branch));
  return all;
}

}  // namespace fuzz

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

// Now and then lengths that claim all that follows, many at once: that is what costs memory.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  if (seed % 16 != 0 || size < sizeof(std::uint64_t)) return LLVMFuzzerMutate(data, size, most);
  for (std::size_t place = seed / 16 % 8; place + sizeof(std::uint64_t) <= size; ++place) {
    std::uint64_t length = 0;
    std::memcpy(&length, data + place, sizeof length);
    if (length == 0 || length > 8) continue;
    length = size - place - sizeof length;
    std::memcpy(data + place, &length, sizeof length);
    place += sizeof length - 1;
  }
  return size;
}
