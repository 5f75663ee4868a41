// SPDX-License-Identifier: BSL-1.0
#pragma once

#include "base/function_ref.hpp"
#include "manager/manager_state.hpp"

#include <kin/detail/callable.hpp>
#include <kin/detail/hosted.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <typeinfo>
#include <unordered_set>
#include <vector>

namespace kin::detail {

/// A manager's server: holds objects, and runs the calls that come through the channel, one after the other,
/// in one thread. A call that can't be answered yet is parked beside its object and tried again when
/// that may have changed.
///
/// What it knows it keeps to itself; if it dies, all is gone. Shared are the lines and what objects are
/// referred to by.
class Server {
 public:
  explicit Server(ManagerState& state);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Until it is shut down.
  void run();

  /// Whether this thread is the server that holds it.
  [[nodiscard]] static bool serves(const HostedObject& hosted) noexcept;
  using Give = FunctionRef<void(std::span<const std::byte> bytes, const OutgoingCargo& cargo)>;
  /// A call from inside of it. False where it would have to wait and `only_looks`; throws
  /// std::logic_error where it would have to wait.
  static bool call_here(const HostedObject& hosted, HostedCode code,
                        std::span<const std::byte> arguments, IncomingCargo& cargo, bool only_looks,
                        Give give);
  [[nodiscard]] static Server& here();
  [[nodiscard]] bool is_ending() const noexcept {
    return state_.phase.load() == ManagerState::ended;
  }

  [[nodiscard]] Handle host(std::unique_ptr<Hosted> object, const std::type_info& type);
  [[nodiscard]] ManagerStatistics statistics();
  /// See HostRoot.
  void publish(const std::string& name, const std::type_info& type,
               std::span<const std::byte> message, const OutgoingCargo& cargo);
  [[nodiscard]] std::span<const std::byte> find_name(const std::string& name,
                                                     const std::type_info& type,
                                                     IncomingCargo& cargo) const;
  [[nodiscard]] std::uint64_t add_outsider(std::uint64_t session);
  void bury_outsider(std::uint64_t outsider);
  void take_back(std::uint32_t index);
  /// Throws std::invalid_argument for code that was not loaded when the server was started.
  void check_code(const void* code, const std::type_info& function);
  /// The process that has the line; when it dies the objects are told.
  [[nodiscard]] Stamp client_of(const CallLine& line);

 private:
  friend class LineCall;

  struct Parked {
    std::uint32_t line;
    std::uint32_t sequence;
    HostedCode code;
    HostedCall::Attempt attempt;
    HostedCall::Withdrawal withdrawn;
    bool has_begun = false;  // and stays the server's: see go_on_at()
  };
  struct Entry {
    std::unique_ptr<Hosted> object;
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
    int calls = 0;  // that run on it: one inside of the other
    std::list<Parked> parked;
  };
  // What a name stands for.
  struct Name {
    std::uint64_t type;
    std::string type_name;
    std::vector<std::byte> message;
    std::vector<Handle> handles;
  };
  // What the server knows of a line.
  struct Book {
    // The last that came. What comes later with a number up to this is a dead process's.
    std::uint32_t floor = 0;
    // The call that was answered last, if its result is to be taken back from a dead client.
    HostedCode take_back = nullptr;
    std::uint32_t sequence = 0;
    std::uint32_t index = 0;  // the object's
    std::uint32_t generation = 0;
  };

  struct Deallocation {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };

  void enter() noexcept;
  static void leave() noexcept;
  /// `why_not_whole`: why its arguments, or what came with them, could not be had.
  void serve(const RequestHead& head, std::span<const std::byte> arguments,
             const std::exception_ptr& why_not_whole);
  [[nodiscard]] Entry* find(std::uint32_t index, std::uint32_t generation) noexcept;
  /// Throws std::logic_error for what it does not hold.
  [[nodiscard]] Entry& entry_of(const HostedObject& hosted);
  [[nodiscard]] Book& book_of(std::uint32_t line) noexcept { return books_[line]; }
  void retry(Entry& entry);
  [[nodiscard]] bool retry_once(Entry& entry);
  void forget_parked(Entry& entry, FunctionRef<bool(const Parked&)> is_over);

  void look_around();
  void bury_the_dead();
  void bury(Stamp dead);
  void for_each_entry(FunctionRef<void(Entry&)> action);
  void tell_objects(std::uint64_t dead);
  void take_back(const CallLine& line, const Book& book);
  void collect_dropped();
  void end(Entry& entry);
  void end_all();

  ManagerState& state_;
  Stamp stamp_;
  LoadedImages images_;
  std::array<const void*, 256> known_code_{};
  std::vector<std::unique_ptr<Entry>> entries_;
  std::vector<std::uint32_t> free_entries_;
  // For all lines that there may be: the kernel gives pages as they are used. Zero is what a Book begins with.
  std::unique_ptr<Book[], Deallocation> books_;
  std::unordered_set<Stamp> clients_;
  Stamp last_client_ = 0;
  std::map<std::uint64_t, Stamp> outsiders_;  // and whose session calls for each
  std::uint64_t last_outsider_ = first_outsider;
  std::map<std::string, Name> names_;
  std::vector<std::byte> request_;
  IncomingCargo cargo_;
  std::size_t objects_ = 0;
  std::size_t parked_ = 0;
  std::size_t calls_ = 0;
  std::uint32_t drops_seen_ = 0;
  std::int64_t next_look_ = 0;
};

}  // namespace kin::detail
