// SPDX-License-Identifier: BSL-1.0
//
// Barrier, against CPython's _TestBarrier, and the manager's.
//
// Fails when:
//   arrive() gives all the index 0: test_wait_return and five more
//   wait_until() calls the action twice: test_action
//   reset() leaves it broken: test_reset, test_abort_and_reset
//   BarrierStore::wait() gives all the number 0: test_wait_return of the manager

#include "makers.hpp"

#include <set>

using namespace trial;

namespace {

constexpr int parties = 5;

template <typename Maker>
auto patient_barrier(const Maker& maker, int count = parties) {
  return maker.barrier({.timeout = patience}, count);
}

// How many have come to a place.
class Count {
 public:
  void add_one() const { value_.fetch_add(1); }
  [[nodiscard]] int now() const { return value_.load(); }

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& value_;
  }

 private:
  kin::Value<int> value_{0};
};

// Each party calls `body`, this process too. Whether all came to its end.
[[nodiscard]] bool all_end_well(Kind kind, const std::function<void()>& body) {
  std::vector<Companion> others;
  for (int i = 1; i < parties; ++i) others.emplace_back(kind, body);
  body();
  bool well = true;
  for (Companion& other : others) well = other.ends_well() && well;
  return well;
}

// Whether the wait ends because the barrier is broken.
template <typename Wait>
bool breaks(Wait&& wait) {
  try {
    wait();
    return false;
  } catch (const kin::BrokenBarrierError&) {
    return true;
  }
}

// So often, all are behind the wait before one is before the next.
template <typename Maker>
void expect_lockstep(Kind kind, int passes) {
  const Maker maker;
  const auto barrier = patient_barrier(maker);
  const Count before;
  const Count behind;
  CHECK(all_end_well(kind, [=] {
    for (int pass = 0; pass < passes; ++pass) {
      before.add_one();
      expect(behind.now() == pass * parties);
      barrier.wait();
      behind.add_one();
      expect(before.now() == (pass + 1) * parties);
      barrier.wait();
    }
    expect(barrier.n_waiting() == 0);
    expect(!barrier.broken());
  }));
  CHECK(before.now() == passes * parties);
  CHECK(behind.now() == passes * parties);
}

}  // namespace

TEST_SUITE("barrier") {
  TEST_CASE_TEMPLATE("test_barrier", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    expect_lockstep<Maker>(each_kind(), 1);
  }

  TEST_CASE_TEMPLATE("test_barrier_10", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    expect_lockstep<Maker>(each_kind(), 10);
  }

  TEST_CASE_TEMPLATE("test_wait_return", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker);
    const kin::Queue<std::size_t> indices;
    CHECK(all_end_well(kind, [=] { indices.put(static_cast<std::size_t>(barrier.wait())); }));
    std::set<std::size_t> seen;
    while (const auto index = indices.try_get()) seen.insert(*index);
    CHECK(seen == std::set<std::size_t>{0, 1, 2, 3, 4});
    CHECK_FALSE(barrier.broken());
  }

  TEST_CASE_TEMPLATE("test_action", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const Count called;
    const auto barrier =
        maker.barrier({.timeout = patience}, parties,
                      kin::partial([](const Count& count) { count.add_one(); }, called));
    const auto all_have_looked = patient_barrier(maker);
    CHECK(all_end_well(kind, [=] {
      for (int pass = 1; pass <= 3; ++pass) {
        barrier.wait();
        expect(called.now() == pass);
        all_have_looked.wait();
      }
    }));
    CHECK(called.now() == 3);
  }

  TEST_CASE_TEMPLATE("test_abort", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker);
    const Count passed;
    const Count broken;
    CHECK(all_end_well(kind, [=] {
      if (barrier.wait() == parties / 2) {
        barrier.abort();
      } else {
        (breaks([&] { barrier.wait(); }) ? broken : passed).add_one();
      }
    }));
    CHECK(passed.now() == 0);
    CHECK(broken.now() == parties - 1);
    CHECK(barrier.broken());
  }

  TEST_CASE_TEMPLATE("test_reset", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker);
    const Count passed;
    const Count broken;
    const Count passed_again;
    CHECK(all_end_well(kind, [=] {
      if (barrier.wait() == parties / 2) {
        expect(eventually([&] { return barrier.n_waiting() == parties - 1; }));
        barrier.reset();
      } else {
        (breaks([&] { barrier.wait(); }) ? broken : passed).add_one();
      }
      barrier.wait();
      passed_again.add_one();
    }));
    CHECK(passed.now() == 0);
    CHECK(broken.now() == parties - 1);
    CHECK(passed_again.now() == parties);
    CHECK_FALSE(barrier.broken());
  }

  TEST_CASE_TEMPLATE("test_abort_and_reset", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker);
    const auto second = patient_barrier(maker);
    const Count passed;
    const Count broken;
    const Count passed_again;
    CHECK(all_end_well(kind, [=] {
      if (barrier.wait() == parties / 2) {
        barrier.abort();
      } else {
        (breaks([&] { barrier.wait(); }) ? broken : passed).add_one();
      }
      // All have left it when it is reset, and nobody comes before.
      if (second.wait() == parties / 2) {
        expect(barrier.broken());
        barrier.reset();
      }
      second.wait();
      barrier.wait();
      passed_again.add_one();
    }));
    CHECK(passed.now() == 0);
    CHECK(broken.now() == parties - 1);
    CHECK(passed_again.now() == parties);
  }

  TEST_CASE_TEMPLATE("test_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker);
    const Count broken;
    CHECK(all_end_well(kind, [=] {
      // One of them is late.
      if (barrier.wait() == parties / 2) expect(eventually([&] { return barrier.broken(); }));
      if (breaks([&] { barrier.wait_for(50ms); })) broken.add_one();
    }));
    CHECK(broken.now() == parties);
    CHECK(barrier.broken());
  }

  TEST_CASE_TEMPLATE("test_default_timeout", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = maker.barrier({.timeout = 50ms}, parties);
    const Count broken;
    CHECK(all_end_well(kind, [=] {
      if (barrier.wait_for(patience) == parties / 2) {
        expect(eventually([&] { return barrier.broken(); }));
      }
      if (breaks([&] { barrier.wait(); })) broken.add_one();
    }));
    CHECK(broken.now() == parties);
    CHECK(barrier.broken());
  }

  TEST_CASE_TEMPLATE("test_single_thread", Maker, HERE_AND_MANAGED) {
    const Trial frame;
    const Kind kind = each_kind();
    const Maker maker;
    const auto barrier = patient_barrier(maker, 1);
    CHECK(barrier.wait() == 0);
    CHECK(barrier.wait() == 0);
    CHECK(Companion(kind, [barrier] {
            expect(barrier.wait() == 0);
            expect(barrier.wait() == 0);
          }).ends_well());
  }

  TEST_CASE_FIXTURE(Trial, "test_thousand") {
    const Kind kind = each_kind();
    constexpr int passes = support::is_sanitized ? 100 : 1000;
    const kin::Barrier barrier({.timeout = patience}, parties);
    const kin::Queue<int> messages;
    std::vector<Companion> all;
    for (int i = 0; i < parties; ++i) {
      all.emplace_back(kind, [=] {
        for (int pass = 0; pass < passes; ++pass) {
          barrier.wait();
          messages.put(pass);
        }
      });
    }
    for (int pass = 0; pass < passes; ++pass) {
      for (int i = 0; i < parties; ++i) REQUIRE(messages.get_for(patience) == pass);
    }
    for (Companion& one : all) CHECK(one.ends_well());
    CHECK_FALSE(messages.try_get());
  }
}
