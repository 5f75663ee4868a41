// SPDX-License-Identifier: BSL-1.0
//
// What has to be one and the same in the program and in the library, for a program that is linked
// with what kin's package names and nothing else: the type of an exception, the table of classes
// behind pointers, and the version.

#include <kin/kin.hpp>

#include <boost/serialization/base_object.hpp>
#include <boost/serialization/export.hpp>

#include <iostream>
#include <memory>
#include <string>

struct Animal {
  virtual ~Animal() = default;
  [[nodiscard]] virtual std::string sound() const { return "none"; }
  template <typename Archive>
  void serialize(Archive&, unsigned) {}
};

struct Dog : Animal {
  [[nodiscard]] std::string sound() const override { return std::string(times, '!'); }
  template <typename Archive>
  void serialize(Archive& archive, unsigned) {
    archive& boost::serialization::base_object<Animal>(*this) & times;
  }
  unsigned times = 0;
};

BOOST_CLASS_EXPORT(Dog)

int main() {
  kin::Queue<std::shared_ptr<Animal>> queue;
  kin::Process child([queue] {
    auto dog = std::make_shared<Dog>();
    dog->times = 3;
    queue.put(dog);
    queue.shutdown();
  });
  child.start();
  if (queue.get()->sound() != "!!!") return 1;
  try {
    static_cast<void>(queue.get());
    return 2;
  } catch (const kin::QueueShutDown&) {
    // the library's exception is the program's
  }
  child.join();
  const auto headers = std::to_string(KIN_VERSION_MAJOR) + '.' + std::to_string(KIN_VERSION_MINOR) +
                       '.' + std::to_string(KIN_VERSION_PATCH);
  if (kin::version() != headers) return 3;
  std::cout << "the same, in kin " << headers << '\n';
}
