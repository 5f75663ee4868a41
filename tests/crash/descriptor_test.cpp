// SPDX-License-Identifier: BSL-1.0

// Whoever stores descriptors, fetches or discards them is killed or stopped at every instruction: what
// others have stored can be fetched, what was discarded is closed, and nothing is left behind.

#include "crash/family.hpp"
#include "crash/prove.hpp"
#include "memory/arena.hpp"
#include "memory/descriptor_queue.hpp"
#include "memory/descriptor_store.hpp"
#include "memory/family_descriptor.hpp"

#include <kin/error.hpp>
#include <kin/unique_fd.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>

#include <fcntl.h>
#include <unistd.h>

using crash::At;
using crash::Moment;
using crash::require;
using crash::With;
using kin::UniqueFd;
using kin::detail::DescriptorQueue;
using kin::detail::DescriptorStore;
using kin::detail::DescriptorStoreState;
using kin::detail::FamilyDescriptor;
using namespace std::chrono_literals;

namespace {

const std::string stored = "stored";
const std::string not_stored = "not stored";
const std::string gone = "gone";
const std::string still_there = "still there";
const std::string emptied = "emptied";

DescriptorStoreState& state() { return *kin::detail::arena().descriptors; }

/// A pipe whose writing end is stored, or to be stored, by an id. Nobody else has that end, so who
/// reads from the pipe sees whether the store has it.
class Parcel {
 public:
  void renew() {
    std::array<int, 2> fds{};
    require(::pipe2(fds.data(), O_CLOEXEC | O_NONBLOCK) == 0, "no pipe");
    reader_.reset(fds[0]);
    ::close(fds[1]);
    id_ = DescriptorStore::new_id();
  }
  void store() const {
    const std::string reader = "/proc/self/fd/" + std::to_string(reader_.get());
    const UniqueFd writer(::open(reader.c_str(), O_WRONLY | O_CLOEXEC | O_NONBLOCK));
    require(DescriptorStore::store(id_, std::array{writer.get()}), "the store is full");
  }
  auto fetch() const { return DescriptorStore::fetch(id_); }
  void discard() const { DescriptorStore::discard(id_); }

  bool is_closed() const {
    char any = 0;  // of one that was killed between writing and reading
    while (::read(reader_.get(), &any, 1) == 1) continue;
    return ::read(reader_.get(), &any, 1) == 0;
  }
  /// Whether it can be fetched; if so it works.
  bool arrives() const {
    try {
      const auto fetched = fetch();
      char sign = 'x';
      require(fetched.size() == 1 && ::write(fetched[0].get(), &sign, 1) == 1, "it can't be used");
      sign = 0;
      require(::read(reader_.get(), &sign, 1) == 1 && sign == 'x', "it is something else");
      require(!is_closed(), "it was closed when its copy was");
      return true;
    } catch (const kin::SystemError&) {
      throw;
    } catch (const kin::Error&) {
      return false;
    }
  }
  bool has_seat() const {
    return std::ranges::any_of(state().seats, [&](const auto& seat) { return seat.id == id_; });
  }

 private:
  UniqueFd reader_;
  std::uint64_t id_ = 0;
};

/// Three of them; the middle one is what a scenario is about.
class Parcels {
 public:
  Parcel before;
  Parcel middle;
  Parcel behind;
  Parcel another;  // of whoever comes next, or uses the store at the same time

  // With few seats: to look in vain for one is a thousand steps else.
  Parcels() { state().capacity = 8; }
  ~Parcels() {
    discard_all();
    state().capacity = capacity_;
  }
  Parcels(const Parcels&) = delete;
  Parcels& operator=(const Parcels&) = delete;

  void prepare(bool with_middle) {
    discard_all();
    for (Parcel* one : {&before, &middle, &behind, &another}) one->renew();
    before.store();
    if (with_middle) middle.store();
    behind.store();
  }
  /// Another one comes and goes.
  void use_another() const {
    another.store();
    require(another.arrives(), "what comes later can't be fetched");
    another.discard();
    require(another.is_closed(), "what comes later is not closed");
  }
  void discard_all() const {
    for (const Parcel* one : {&before, &middle, &behind, &another}) one->discard();
  }

  std::string outcome_of_store(const Moment& moment) const {
    require_others();  // and that cleans up
    const bool is_there = middle.arrives();
    require(is_there || !moment.completed, "store() returned and it can't be fetched");
    require(is_there || middle.is_closed(), "it is kept although it was not stored");
    require_to_work();
    return is_there ? stored : not_stored;
  }
  std::string outcome_of_fetch(const Moment&) const {
    require_others();
    require(middle.arrives(), "a fetch took it away");
    require_to_work();
    return still_there;
  }
  std::string outcome_of_discard(const Moment& moment) const {
    require(middle.is_closed() || !moment.completed, "discard() returned and it is not closed");
    const bool has_seat = middle.has_seat();
    require_others();
    const bool is_there = middle.arrives();
    require(!is_there || has_seat, "what has no seat can be fetched");
    require(is_there || middle.is_closed(), "it can't be fetched, and is kept");
    middle.discard();
    require(!middle.arrives() && middle.is_closed(), "it can't be discarded again");
    require_others();
    require_to_work();
    if (is_there) return still_there;
    return has_seat ? emptied : gone;
  }

  void require_others() const {
    require(before.arrives(), "what was stored before it is lost");
    require(behind.arrives(), "what was stored behind it is lost");
  }

 private:
  std::uint32_t capacity_ = state().capacity;

  // The store goes on, and when all is discarded nothing is left.
  void require_to_work() const {
    another.discard();
    Parcel later;
    later.renew();
    later.store();
    require(later.arrives(), "the store does not work");
    later.discard();
    require(later.is_closed(), "discarded and not closed");
    discard_all();
    for (const Parcel* one : {&before, &middle, &behind, &another}) {
      require(one->is_closed(), "all are discarded, and one is not closed");
    }
    const auto is_free = [](const auto& seat) { return seat.id == 0U; };
    if (!std::ranges::all_of(state().seats, is_free)) return;  // bells of queues
    DescriptorQueue::Scan scan;
    require(!scan.next() && scan.saw_all(), "a packet is left");
    require(state().garbage == 0 && state().pushed == state().popped, "the count is wrong");
  }
};

crash::Ranges watch() {
  const auto& all = state();
  return {std::as_bytes(std::span(&all, 1))
              .first(sizeof all - sizeof all.seats + 8 * sizeof all.seats[0])};
}

}  // namespace

TEST_SUITE("descriptor") {
  TEST_CASE("descriptors are stored") {
    Parcels parcels;
    crash::prove_at_changes_and_instructions(
        {
            .name = "store of a descriptor",
            .prepare = [&] { parcels.prepare(false); },
            .operation = [&] { parcels.middle.store(); },
            .check = [&](const Moment& moment) { return parcels.outcome_of_store(moment); },
            .expected = {not_stored, stored},
            .watch = watch,
        },
        2s);
  }

  TEST_CASE("descriptors are fetched") {
    Parcels parcels;
    crash::prove_at_changes_and_instructions(
        {
            .name = "fetch of a descriptor",
            .prepare = [&] { parcels.prepare(true); },
            .operation = [&] { static_cast<void>(parcels.middle.fetch()); },
            .check = [&](const Moment& moment) { return parcels.outcome_of_fetch(moment); },
            .expected = {still_there},
            .watch = watch,
        },
        1s);
  }

  TEST_CASE("descriptors are discarded, with others before and behind them") {
    Parcels parcels;
    crash::prove_at_changes_and_instructions(
        {
            .name = "discard of a descriptor",
            .prepare = [&] { parcels.prepare(true); },
            .operation = [&] { parcels.middle.discard(); },
            .check = [&](const Moment& moment) { return parcels.outcome_of_discard(moment); },
            .expected = {still_there, emptied, gone},
            .watch = watch,
        },
        2s);
  }

  TEST_CASE("others use the store at the same time") {
    Parcels parcels;
    crash::prove({
        .name = "discard of a descriptor beside others",
        .prepare = [&] { parcels.prepare(true); },
        .operation = [&] { parcels.middle.discard(); },
        .check = [&](const Moment& moment) { return parcels.outcome_of_discard(moment); },
        .expected = {still_there, emptied, gone},
        .at = At::every_change,
        .watch = watch,
        .partner = [&] { parcels.use_another(); },
        .partner_every = 64,
        .budget = 3s,
    });
  }

  TEST_CASE("whoever uses the store is stopped, and goes on later") {
    Parcels parcels;
    crash::prove({
        .name = "store, fetch and discard of a descriptor",
        .prepare = [&] { parcels.prepare(false); },
        .operation =
            [&] {
              parcels.middle.store();
              static_cast<void>(parcels.middle.fetch());
              parcels.middle.discard();
            },
        .check = [&](const Moment& moment) { return parcels.outcome_of_discard(moment); },
        .expected = {gone},
        .with = With::stop,
        .at = At::every_change,
        .watch = watch,
        .while_stopped =
            [&] {
              // Where it stopped with the lock, others wait for it.
              if (!state().lock.try_lock()) return;
              state().lock.unlock();
              parcels.use_another();
              parcels.require_others();
            },
        .budget = 2s,
    });
  }

  TEST_CASE("whoever comes next is killed too") {
    Parcels parcels;
    crash::Scenario scenario{
        .name = "use of the store after a killed store",
        .prepare = [&] { parcels.prepare(false); },
        .operation = [&] { parcels.middle.store(); },
        .check =
            [&](Moment moment) {
              moment.completed = moment.first_completed;
              return parcels.outcome_of_store(moment);
            },
        .possible = {not_stored, stored},
        .at = At::every_change,
        .watch = watch,
        .recovery = [&] { parcels.use_another(); },
        .budget = 3s,
    };
    crash::prove(scenario);

    scenario.name = "discard of a descriptor after a killed discard";
    scenario.prepare = [&] { parcels.prepare(true); };
    scenario.operation = [&] { parcels.middle.discard(); };
    scenario.check = [&](const Moment& moment) { return parcels.outcome_of_discard(moment); };
    scenario.possible = {still_there, emptied, gone};
    scenario.recovery = [&] { parcels.middle.discard(); };
    crash::prove(scenario);
  }
}

TEST_SUITE("family descriptor") {
  TEST_CASE("it is replaced") {
    const crash::Balance balance;
    const Parcels few_seats;
    std::uint64_t before = FamilyDescriptor::id();
    const auto used_seats = [] {
      return std::ranges::count_if(state().seats, [](const auto& seat) { return seat.id != 0; });
    };
    const auto replace = [](std::uint64_t known) {
      const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
      return FamilyDescriptor::replace(known, [&] { return null.get(); });
    };
    before = replace(before);
    const auto seats = used_seats();
    crash::Scenario scenario{
        .name = "FamilyDescriptor: replace",
        .prepare = [&] { before = FamilyDescriptor::id(); },
        .operation = [&] { require(replace(before) != 0, "somebody came before"); },
        .check = [&](const Moment& moment) -> std::string {
          const std::uint64_t now = FamilyDescriptor::id();
          require(now != before || !moment.completed, "it was not replaced");
          require(FamilyDescriptor::fetch(now).get() >= 0, "it can't be had");
          require(replace(before) == 0 || now == before, "replaced by who does not know it");
          require(replace(FamilyDescriptor::id()) != 0, "it can't be replaced any more");
          require(used_seats() == seats, "something is left in the store");
          return now == before ? "the one before" : "another";
        },
        .expected = {"the one before", "another"},
        .at = At::every_change,
        .watch =
            [] {
              const auto& family = *kin::detail::arena().family_descriptor;
              return crash::both(watch(), {std::as_bytes(std::span(&family, 1))});
            },
        .budget = 4s,
    };
    crash::prove(scenario);
    scenario.name = "FamilyDescriptor: replace, behind one who was killed in it";
    scenario.recovery = [&] { static_cast<void>(replace(FamilyDescriptor::id())); };
    scenario.check = [&](const Moment& /*moment*/) -> std::string {
      const std::uint64_t now = FamilyDescriptor::id();
      require(FamilyDescriptor::fetch(now).get() >= 0, "it can't be had");
      require(replace(now) != 0, "it can't be replaced any more");
      require(used_seats() == seats, "something is left in the store");
      return "replaced";
    };
    scenario.expected = {"replaced"};
    crash::prove(scenario);
    CHECK_NOTHROW(balance.require_unchanged());
  }
}
