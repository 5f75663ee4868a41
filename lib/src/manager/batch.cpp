// SPDX-License-Identifier: BSL-1.0
//
// Calls that travel together: written one behind the other, run in the server as one call, and their answers
// read in the same order.

#include <kin/detail/batch.hpp>

#include "manager/batch.hpp"
#include "wire/exception.hpp"

#include <cstddef>
#include <cstring>
#include <stdexcept>

namespace kin::detail {
namespace {

// In front of a call and of an answer.
struct CallHead {
  HostedCode code;
  std::uint64_t size;
  std::uint64_t handles;
};
struct AnswerHead {
  std::uint64_t size;
  std::uint32_t handles;
  std::uint32_t is_exception;
};

template <typename Head>
void append(std::vector<std::byte>& to, const Head& head, std::span<const std::byte> bytes) {
  const std::size_t at = to.size();
  to.resize(at + sizeof head + bytes.size());
  std::memcpy(to.data() + at, &head, sizeof head);
  if (!bytes.empty()) std::memcpy(to.data() + at + sizeof head, bytes.data(), bytes.size());
}

// Handles, and behind them what tells how many there are: both or, where there is no memory, none.
template <typename Head>
void append(std::vector<std::byte>& to, std::vector<Handle>& to_handles, const Head& head,
            std::span<const std::byte> bytes, std::span<const Handle> handles) {
  const std::size_t before = to_handles.size();
  to_handles.insert(to_handles.end(), handles.begin(), handles.end());
  try {
    append(to, head, bytes);
  } catch (...) {
    to_handles.erase(to_handles.begin() + static_cast<std::ptrdiff_t>(before), to_handles.end());
    throw;
  }
}

template <typename Head>
Head take_head(std::span<const std::byte>& from) {
  if (from.size() < sizeof(Head)) InArchive::complain_short();
  const Head head = from_bytes<Head>(from.data());
  from = from.subspan(sizeof(Head));
  if (head.size > from.size()) InArchive::complain_short();
  return head;
}

[[noreturn]] void complain_left_handles() {
  InArchive::complain("it has more handles than its calls need");
}

struct Answers {
  std::vector<std::byte> bytes;
  std::vector<Handle> handles;
};

// One call of a batch, in the server.
class PartOfBatch final : public HostedCall {
 public:
  PartOfBatch(HostedCall& whole, std::span<const std::byte> arguments, IncomingCargo& cargo,
              Answers& answers)
      : HostedCall(whole.object_address(), arguments, cargo, whole.is_from_stranger()),
        whole_(whole),
        answers_(answers) {}

  [[nodiscard]] std::uint64_t client() override { return whole_.client(); }
  void give(std::span<const std::byte> bytes, const OutgoingCargo& cargo) override {
    if (!cargo.descriptors.empty()) {
      throw std::logic_error("kin: a batch has no room for descriptors");
    }
    append(answers_.bytes, answers_.handles,
           AnswerHead{.size = bytes.size(),
                      .handles = static_cast<std::uint32_t>(cargo.handles.size()),
                      .is_exception = 0},
           bytes, cargo.handles);
    is_answered_ = true;
  }
  void park(Attempt /*attempt*/, Withdrawal withdrawn) override {
    withdrawn();
    throw std::logic_error("kin: a call of a batch would have to wait");
  }
  void take_back_by(HostedCode /*code*/) override {}
  void fail(const std::exception_ptr& exception) {
    const BorrowedBuffers buffers;
    encode_exception(buffers->out, exception, ExceptionCargo::stays);
    append(answers_.bytes, AnswerHead{.size = buffers->out.size(), .handles = 0, .is_exception = 1},
           buffers->out.bytes());
  }
  [[nodiscard]] bool is_answered() const noexcept { return is_answered_; }

 private:
  HostedCall& whole_;
  Answers& answers_;
  bool is_answered_ = false;
};

// In the server: one call that is all of them.
void run_batch(HostedCall& whole) {
  Answers answers;
  std::span<const std::byte> rest = whole.arguments();
  std::size_t first_handle = 0;
  std::vector<Handle>& handles = whole.cargo().handles;
  while (!rest.empty()) {
    const auto head = take_head<CallHead>(rest);
    if (head.handles > handles.size() - first_handle) InArchive::complain_short();
    IncomingCargo cargo;
    for (std::size_t i = 0; i < head.handles; ++i) {
      cargo.handles.push_back(std::move(handles[first_handle + i]));
    }
    first_handle += head.handles;
    PartOfBatch part(whole, rest.first(head.size), cargo, answers);
    try {
      whole.check_code(reinterpret_cast<const void*>(head.code), typeid(void));
      head.code(part);
    } catch (...) {
      if (!part.is_answered()) part.fail(std::current_exception());
    }
    rest = rest.subspan(head.size);
  }
  if (first_handle != handles.size()) complain_left_handles();
  whole.begin_giving();
  whole.give(answers.bytes, {.handles = answers.handles, .descriptors = {}});
}

}  // namespace

HostedCode batch_code() noexcept { return run_batch; }

void for_each_call(std::span<std::byte> batch,
                   FunctionRef<void(std::uint64_t& code, std::span<std::byte> arguments)> visit) {
  static_assert(sizeof(HostedCode) == sizeof(std::uint64_t));
  while (!batch.empty()) {
    std::span<const std::byte> rest = batch;
    const auto head = take_head<CallHead>(rest);
    std::uint64_t code = 0;
    std::memcpy(&code, batch.data(), sizeof code);  // the head's first member
    visit(code, batch.subspan(sizeof head, head.size));
    std::memcpy(batch.data(), &code, sizeof code);
    batch = batch.subspan(sizeof head + head.size);
  }
}

BatchMessage::BatchMessage() { clear(); }

void BatchMessage::clear() {
  bytes_.assign(request_head_size, std::byte{});
  handles_.clear();
  count_ = 0;
  answers_ = std::make_shared<BatchAnswers>();
}

std::size_t BatchMessage::add(HostedCode code, std::span<const std::byte> arguments,
                              const OutgoingCargo& cargo) {
  if (!cargo.descriptors.empty()) {
    throw std::logic_error("kin: a batch has no room for descriptors");
  }
  append(bytes_, handles_,
         CallHead{.code = code, .size = arguments.size(), .handles = cargo.handles.size()},
         arguments, cargo.handles);
  return count_++;
}

void BatchMessage::run(Object& hosted) {
  if (count_ == 0) return;
  RemoteCall call(hosted, typeid(void));
  call.make(run_batch, bytes_, {.handles = handles_, .descriptors = {}});
  answers_->take(call.result(), std::move(call.cargo()));
  clear();
}

void BatchAnswers::take(std::span<const std::byte> bytes, IncomingCargo cargo) {
  bytes_.assign(bytes.begin(), bytes.end());
  handles_ = std::move(cargo.handles);
  std::span<const std::byte> rest = bytes;
  std::size_t first_handle = 0;
  while (!rest.empty()) {
    const auto head = take_head<AnswerHead>(rest);
    answers_.push_back({.offset = static_cast<std::size_t>(rest.data() - bytes.data()),
                        .size = head.size,
                        .first_handle = first_handle,
                        .handles = head.handles,
                        .is_exception = head.is_exception != 0});
    first_handle += head.handles;
    rest = rest.subspan(head.size);
  }
  if (first_handle > handles_.size()) InArchive::complain_short();
  if (first_handle < handles_.size()) complain_left_handles();
  are_here_ = true;
}

std::span<const std::byte> BatchAnswers::find(std::size_t at, IncomingCargo& cargo) const {
  if (!are_here_) throw InvalidStateError("the batch was not run, or run() threw");
  const Answer& answer = answers_.at(at);
  const auto result = std::span(bytes_).subspan(answer.offset, answer.size);
  if (answer.is_exception) std::rethrow_exception(take_exception(result, cargo));
  const auto handles = std::span(handles_).subspan(answer.first_handle, answer.handles);
  cargo.handles.assign(handles.begin(), handles.end());
  return result;
}

}  // namespace kin::detail
