// SPDX-License-Identifier: BSL-1.0

// The exceptions that arrive in another process as what they are: those of the standard library and
// of kin, and what the application registers. Private to a process, and inherited by its children.

#include "wire/exception_types.hpp"

#include "base/guarded.hpp"
#include "base/immortal.hpp"
#include "base/readable_type.hpp"

#include <kin/detail/archive.hpp>
#include <kin/error.hpp>

#include <algorithm>
#include <any>
#include <array>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace kin::detail {

namespace {

// --- error codes

using Categories = std::array<const std::error_category*, 4>;

Categories categories() {
  return {&std::generic_category(), &std::system_category(), &std::iostream_category(),
          &std::future_category()};
}

// What has a category of somebody else's is not sent as what it is: its address would be believed.
void save_code(OutArchive& out, const std::error_code& code) {
  const Categories all = categories();
  const auto* const found = std::ranges::find(all, &code.category());
  if (found == all.end()) throw SerializationError("an error code of an unknown category");
  encode(out, static_cast<std::size_t>(found - all.begin()));
  encode(out, code.value());
}

std::error_code load_code(InArchive& in) {
  const auto index = decode_next<std::size_t>(in);
  const auto value = decode_next<int>(in);
  const Categories all = categories();
  if (index >= all.size()) InArchive::complain("an error code has no such category");
  return {value, *all[index]};
}

// A system_error appends what its code says to the text it is made with.
std::optional<std::string> text_before_code(const std::system_error& error) {
  std::string text = error.std::runtime_error::what();
  const std::string appended = error.code().message();
  if (text == appended) return std::nullopt;
  if (text.ends_with(": " + appended)) text.resize(text.size() - appended.size() - 2);
  return text;
}

// --- the ways of those that have more to say than a text

struct SystemErrorWay {
  static void save(OutArchive& out, const std::system_error& error) {
    save_code(out, error.code());
    encode(out, text_before_code(error));
  }
  static std::system_error load(InArchive& in) {
    const std::error_code code = load_code(in);
    const auto text = decode_next<std::optional<std::string>>(in);
    return text ? std::system_error(code, *text) : std::system_error(code);
  }
};

struct StreamFailureWay : SystemErrorWay {
  static std::ios_base::failure load(InArchive& in) {
    const std::error_code code = load_code(in);
    const auto text = decode_next<std::optional<std::string>>(in);
    return std::ios_base::failure(text.value_or(""), code);
  }
};

struct FilesystemErrorWay {
  using Error = std::filesystem::filesystem_error;
  using Path = std::filesystem::path;

  static void save(OutArchive& out, const Error& error) {
    const std::string text = text_before_code(error).value_or("");
    save_code(out, error.code());
    encode(out, text);
    encode(out, error.path1());
    encode(out, error.path2());
    // What it was made with shows in its text only: an empty path is a path.
    unsigned paths = 2;
    while (paths > 0 && std::string_view(error.what()) !=
                            make(text, error.path1(), error.path2(), error.code(), paths).what()) {
      --paths;
    }
    encode(out, paths);
  }
  static Error load(InArchive& in) {
    const std::error_code code = load_code(in);
    const auto text = decode_next<std::string>(in);
    const auto path1 = decode_next<Path>(in);
    const auto path2 = decode_next<Path>(in);
    return make(text, path1, path2, code, decode_next<unsigned>(in));
  }

 private:
  static Error make(const std::string& text, const Path& path1, const Path& path2,
                    std::error_code code, unsigned paths) {
    if (paths == 0) return {text, code};
    if (paths == 1) return {text, path1, code};
    return {text, path1, path2, code};
  }
};

struct FutureErrorWay {
  static void save(OutArchive& out, const std::future_error& error) {
    save_code(out, error.code());
  }
  static std::future_error load(InArchive& in) {
    return std::future_error(static_cast<std::future_errc>(load_code(in).value()));
  }
};

struct RegexErrorWay {
  // The library has two of its own behind those of the standard. The enum holds no others.
  static constexpr int last_code = static_cast<int>(std::regex_constants::error_stack) + 2;

  static void save(OutArchive& out, const std::regex_error& error) {
    encode(out, static_cast<int>(error.code()));
  }
  static std::regex_error load(InArchive& in) {
    const auto code = decode_next<int>(in);
    if (code < 0 || code > last_code) InArchive::complain("a regex_error has no such code");
    return std::regex_error(static_cast<std::regex_constants::error_type>(code));
  }
};

struct KinSystemErrorWay {
  static void save(OutArchive& out, const SystemError& error) {
    encode(out, error.call());
    encode(out, error.code().value());
  }
  static SystemError load(InArchive& in) {
    auto call = decode_next<std::string>(in);
    return {std::move(call), decode_next<int>(in)};
  }
};

struct BufferTooShortWay {
  static void save(OutArchive& out, const BufferTooShort& error) {
    encode(out, error.message_size());
  }
  static BufferTooShort load(InArchive& in) { return BufferTooShort(decode_next<std::size_t>(in)); }
};

struct OwnerDiedWay {
  static void save(OutArchive& out, const OwnerDied& error) {
    encode(out, std::string(error.what()));
    encode(out, error.pids());
    encode(out, error.count());
  }
  static OwnerDied load(InArchive& in) {
    const auto text = decode_next<std::string>(in);
    auto pids = decode_next<std::vector<pid_t>>(in);
    return {text, std::move(pids), decode_next<std::size_t>(in)};
  }
};

struct RemoteErrorWay {
  static void save(OutArchive& out, const RemoteError& error) {
    encode(out, error.type_name());
    encode(out, error.message());
    encode(out, error.pid());
  }
  static RemoteError load(InArchive& in) {
    auto type_name = decode_next<std::string>(in);
    auto message = decode_next<std::string>(in);
    return {std::move(type_name), std::move(message), decode_next<pid_t>(in)};
  }
};

struct WorkerDiedWay {
  static void save(OutArchive& out, const WorkerDied& error) {
    encode(out, std::string(error.what()));
    encode(out, error.pid());
    encode(out, error.exit_code());
  }
  static WorkerDied load(InArchive& in) {
    const auto text = decode_next<std::string>(in);
    const auto pid = decode_next<pid_t>(in);
    return {text, pid, decode_next<int>(in)};
  }
};

// --- the table

struct Entry {
  KnownException known;
  std::string name;
};

using Entries = std::vector<Entry>;

void add(Entries& entries, const ExceptionType& type) {
  std::string key = type.type->name();
  for (const Entry& entry : entries) {
    if (*entry.known.type.type == *type.type) return;
    // Namespaces without a name hide classes of the same name from each other.
    if (entry.known.key == key) key += '\'';
  }
  entries.push_back({{std::move(key), type}, readable_type(*type.type)});
}

template <template <typename> typename Way, typename... T>
void add_all(Entries& entries) {
  (add(entries, exception_type<T, Way<T>>()), ...);
}

template <typename T, typename Way>
void add_one(Entries& entries) {
  add(entries, exception_type<T, Way>());
}

void add_standard(Entries& entries) {
  add_all<ByName, std::exception, std::bad_exception, std::bad_alloc, std::bad_array_new_length,
          std::bad_cast, std::bad_any_cast, std::bad_typeid, std::bad_function_call,
          std::bad_optional_access, std::bad_variant_access, std::bad_weak_ptr>(entries);
  add_all<ByText, std::logic_error, std::invalid_argument, std::domain_error, std::length_error,
          std::out_of_range, std::runtime_error, std::range_error, std::overflow_error,
          std::underflow_error>(entries);
  add_one<std::system_error, SystemErrorWay>(entries);
  add_one<std::ios_base::failure, StreamFailureWay>(entries);
  add_one<std::filesystem::filesystem_error, FilesystemErrorWay>(entries);
  add_one<std::future_error, FutureErrorWay>(entries);
  add_one<std::regex_error, RegexErrorWay>(entries);
}

void add_own(Entries& entries) {
  add_all<ByText, Error, QueueShutDown, EndOfStream, BrokenPipe, BrokenBarrierError, DeadlockError,
          AuthenticationError, SerializationError, TimeoutError, CancelledError, InvalidStateError,
          BrokenPool, ManagerDied>(entries);
  add_one<SystemError, KinSystemErrorWay>(entries);
  add_one<BufferTooShort, BufferTooShortWay>(entries);
  add_one<OwnerDied, OwnerDiedWay>(entries);
  add_one<RemoteError, RemoteErrorWay>(entries);
  add_one<WorkerDied, WorkerDiedWay>(entries);
}

Guarded<Entries>& table() {
  static Immortal<Guarded<Entries>> entries;
  return *entries;
}

[[maybe_unused]] const bool table_is_made = made_at_load(table);

// Filled when it is first used, or it would cost every program's start.
template <typename Use>
auto with_entries(Use use) {
  return table().with([&](Entries& entries) {
    if (entries.empty()) {
      Entries first;
      add_standard(first);
      add_own(first);
      entries = std::move(first);
    }
    return use(entries);
  });
}

}  // namespace

void add_exception_type(const ExceptionType& type) {
  with_entries([&](Entries& entries) { add(entries, type); });
}

std::optional<KnownException> find_exception(const std::type_info& type, std::string_view name) {
  return with_entries([&](const Entries& entries) -> std::optional<KnownException> {
    auto found = std::ranges::find_if(
        entries, [&](const Entry& entry) { return *entry.known.type.type == type; });
    if (found == entries.end()) found = std::ranges::find(entries, name, &Entry::name);
    if (found == entries.end()) return std::nullopt;
    return found->known;
  });
}

std::optional<ExceptionType> find_exception(std::string_view key) {
  return with_entries([&](const Entries& entries) -> std::optional<ExceptionType> {
    const auto found =
        std::ranges::find_if(entries, [&](const Entry& entry) { return entry.known.key == key; });
    if (found == entries.end()) return std::nullopt;
    return found->known.type;
  });
}

}  // namespace kin::detail
