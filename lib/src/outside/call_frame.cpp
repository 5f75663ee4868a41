// SPDX-License-Identifier: BSL-1.0

#include "outside/call_frame.hpp"

#include <kin/detail/archive.hpp>

#include <cstring>

namespace kin::detail {
namespace {

// Little-endian and laid out as here on both sides: machines of another kind are refused in the handshake.
struct Head {
  std::uint32_t kind;
  std::uint32_t slot;
  std::uint32_t sequence;
  std::uint32_t flags;
  std::uint32_t limit;
  std::uint32_t outsider;
  std::uint64_t number;
  ObjectRef object;
  std::uint64_t objects;
};
static_assert(sizeof(Head) == 56 && sizeof(ObjectRef) == 16);

}  // namespace

std::vector<std::byte> write_frame(const CallFrame& frame) {
  const Head head{.kind = static_cast<std::uint32_t>(frame.kind),
                  .slot = frame.slot,
                  .sequence = frame.sequence,
                  .flags = frame.flags,
                  .limit = frame.limit,
                  .outsider = frame.outsider,
                  .number = frame.number,
                  .object = frame.object,
                  .objects = frame.objects.size()};
  const std::size_t refs = frame.objects.size() * sizeof(ObjectRef);
  std::vector<std::byte> message(sizeof head + refs + frame.bytes.size());
  std::byte* to = message.data();
  std::memcpy(to, &head, sizeof head);
  if (refs != 0) std::memcpy(to + sizeof head, frame.objects.data(), refs);
  if (!frame.bytes.empty()) {
    std::memcpy(to + sizeof head + refs, frame.bytes.data(), frame.bytes.size());
  }
  return message;
}

CallFrame read_frame(std::span<const std::byte> message) {
  Head head{};
  if (message.size() < sizeof head) InArchive::complain_short();
  std::memcpy(&head, message.data(), sizeof head);
  message = message.subspan(sizeof head);
  if (head.kind >= static_cast<std::uint32_t>(FrameKind::last) ||
      (head.flags & ~std::uint32_t{CallFrame::all_flags}) != 0) {
    InArchive::complain("it is no frame of a manager's");
  }
  if (head.objects > message.size() / sizeof(ObjectRef)) InArchive::complain_short();
  CallFrame frame{.kind = static_cast<FrameKind>(head.kind),
                  .slot = head.slot,
                  .sequence = head.sequence,
                  .flags = head.flags,
                  .limit = head.limit,
                  .outsider = head.outsider,
                  .number = head.number,
                  .object = head.object,
                  .objects = std::vector<ObjectRef>(head.objects),
                  .bytes = message.subspan(head.objects * sizeof(ObjectRef))};
  if (head.objects != 0) {
    std::memcpy(frame.objects.data(), message.data(), head.objects * sizeof(ObjectRef));
  }
  return frame;
}

}  // namespace kin::detail
