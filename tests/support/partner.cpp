// SPDX-License-Identifier: BSL-1.0

// The partner spins for its turns: the other core has nothing else to do, and sleeping would cost a
// wake-up a step.

#include "partner.hpp"

#include <thread>
#include <utility>

namespace crash {

Partner::Partner(std::function<void()> turn, std::size_t every)
    : turn_(std::move(turn)), every_(every), process_([this] { return take_turns(); }) {}

void Partner::step_passed() {
  if (every_ == 0 || ++steps_ % every_ != 0 || turns_->ended != turns_->asked) {
    return;
  }
  ++turns_->asked;
  // A turn that takes longer waits for the traced process, and goes on beside its next steps.
  const auto until = Clock::now() + std::chrono::microseconds(300);
  while (turns_->ended != turns_->asked && Clock::now() < until) {
    std::this_thread::yield();
  }
}

Bystander& Partner::retire() {
  turns_->enough = true;
  return process_;
}

std::string Partner::take_turns() const {
  while (!turns_->enough) {
    if (every_ == 0 || turns_->ended != turns_->asked) {
      turn_();
      ++turns_->ended;
    } else {
      std::this_thread::yield();
    }
  }
  return {};
}

}  // namespace crash
