// SPDX-License-Identifier: BSL-1.0

// Exceptions on their way to another process. Encoded where the task failed, decoded where its result
// is asked for.
//
// An exception may have another nested in it, and so on. The message is the sender's pid, and these
// layers, the outermost first. Of each it has the texts, for the case that nothing else is of any use
// to the reader; and, if the type is known, what it is made anew from. That is an archive by itself,
// with a length, since only the user's code knows how to read it, and may fail.

#include "wire/exception.hpp"

#include "base/readable_type.hpp"
#include "wire/exception_types.hpp"

#include <kin/error.hpp>

#include <algorithm>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>
#include <cxxabi.h>

#include <unistd.h>

namespace kin::detail {

namespace {

// Those nested deeper are not told. Somebody reads them, so it can't be many.
constexpr std::size_t most_layers = 100;
// Of a layer without any text.
constexpr std::size_t shortest_layer = 6 * sizeof(std::uint64_t);

// Called while an exception is being handled.
std::exception_ptr nested_in_current() {
  try {
    throw;
  } catch (const std::nested_exception& error) {
    return error.nested_ptr();
  } catch (...) {
    return nullptr;
  }
}

// Looks at the outermost layer, and goes on to the next.
struct Layer {
  explicit Layer(std::exception_ptr thrown) : exception(std::move(thrown)) {
    try {
      std::rethrow_exception(exception);
    } catch (...) {
      text = text_of_exception();
      if (const std::type_info* const type = abi::__cxa_current_exception_type()) {
        known = find_exception(*type, text.type_name);
      }
      nested = nested_in_current();
    }
  }

  std::exception_ptr exception;
  ExceptionText text;
  std::optional<KnownException> known;
  std::exception_ptr nested;
};

// False if it can't be sent as what it is: the texts have to do.
bool save_as_itself(OutArchive& out, const Layer& layer, ExceptionCargo cargo) {
  if (!layer.known) return false;
  try {
    layer.known->type.save(out, layer.exception);
    return cargo == ExceptionCargo::travels || out.cargo().empty();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (...) {
    return false;
  }
}

void encode_layer(OutArchive& out, const Layer& layer, ExceptionCargo what_of_cargo) {
  OutArchive contents;
  const bool is_saved = save_as_itself(contents, layer, what_of_cargo);
  if (!is_saved) contents.clear();
  // Saved, so known. NOLINTNEXTLINE(bugprone-unchecked-optional-access)
  encode(out, is_saved ? layer.known->key : std::string());
  encode(out, layer.text.type_name);
  encode(out, layer.text.message);
  const OutgoingCargo cargo = contents.cargo();
  out.save_length(cargo.handles.size());
  out.save_length(cargo.descriptors.size());
  for (const Handle& handle : cargo.handles) out.add_handle(handle);
  for (const int descriptor : cargo.descriptors) out.add_descriptor(descriptor);
  out.save_length(contents.size());
  out.save_binary(contents.bytes().data(), contents.size());
}

// A layer as it arrived.
struct Arrived {
  explicit Arrived(InArchive& in)
      : key(decode_next<std::string>(in)),
        type_name(decode_next<std::string>(in)),
        message(decode_next<std::string>(in)) {
    const auto handles = decode_next<std::uint64_t>(in);
    const auto descriptors = decode_next<std::uint64_t>(in);
    for (std::uint64_t i = 0; i < handles; ++i) cargo.handles.push_back(in.next_handle());
    for (std::uint64_t i = 0; i < descriptors; ++i) {
      cargo.descriptors.push_back(in.next_descriptor());
    }
    const std::size_t size = in.load_length(1);
    contents = {in.take(size), size};
  }

  std::string key;
  std::string type_name;
  std::string message;
  IncomingCargo cargo;
  std::span<const std::byte> contents;
};

std::vector<Arrived> arrived_layers(InArchive& in) {
  const std::size_t count = in.load_length(shortest_layer);
  if (count == 0 || count > most_layers) InArchive::complain("it holds no exception");
  std::vector<Arrived> layers;
  for (std::size_t i = 0; i < count; ++i) layers.emplace_back(in);
  return layers;
}

// Null if it can't be had: not known here, or its own code does not accept what it finds.
std::exception_ptr as_itself(Arrived& layer, const std::exception_ptr& cause) {
  const std::optional<ExceptionType> type = find_exception(layer.key);
  if (!type) return nullptr;
  try {
    InArchive in(layer.contents, layer.cargo);
    std::exception_ptr exception = type->load(in, cause);
    in.finish();
    return exception;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (...) {
    return nullptr;
  }
}

std::exception_ptr as_remote_error(const Arrived& layer, pid_t pid,
                                   const std::exception_ptr& cause) {
  RemoteError error(layer.type_name, layer.message, pid);
  if (!cause) return std::make_exception_ptr(error);
  try {
    std::rethrow_exception(cause);
  } catch (...) {
    try {
      std::throw_with_nested(std::move(error));
    } catch (...) {
      return std::current_exception();
    }
  }
}

}  // namespace

void encode_exception(OutArchive& out, const std::exception_ptr& exception, ExceptionCargo cargo) {
  std::vector<Layer> layers;
  std::exception_ptr next = exception ? exception : std::make_exception_ptr(std::bad_exception());
  while (next && layers.size() < most_layers) {
    next = layers.emplace_back(std::move(next)).nested;
  }
  encode(out, ::getpid());
  out.save_length(layers.size());
  for (const Layer& layer : layers) encode_layer(out, layer, cargo);
}

void encode_without_cargo(OutArchive& out, InArchive& in) {
  encode(out, decode_next<pid_t>(in));
  const std::vector<Arrived> layers = arrived_layers(in);
  out.save_length(layers.size());
  for (const Arrived& layer : layers) {
    const bool is_kept = layer.cargo.handles.empty() && layer.cargo.descriptors.empty();
    encode(out, is_kept ? layer.key : std::string());
    encode(out, layer.type_name);
    encode(out, layer.message);
    out.save_length(0);  // handles
    out.save_length(0);  // descriptors
    const auto contents = is_kept ? layer.contents : std::span<const std::byte>();
    out.save_length(contents.size());
    out.save_binary(contents.data(), contents.size());
  }
}

std::exception_ptr decode_exception(InArchive& in) {
  const auto pid = decode_next<pid_t>(in);
  std::vector<Arrived> layers = arrived_layers(in);

  std::exception_ptr cause;
  for (std::size_t i = layers.size(); --i > 0;) {
    const std::exception_ptr exception = as_itself(layers[i], cause);
    cause = exception ? exception : as_remote_error(layers[i], pid, cause);
  }
  const std::exception_ptr remote = as_remote_error(layers[0], pid, cause);
  const std::exception_ptr exception = as_itself(layers[0], remote);
  return exception ? exception : remote;
}

namespace {

// The function returned; what it returned can't be sent.
std::exception_ptr as_failed_result(const std::exception_ptr& exception, const char* what) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::bad_alloc&) {
    return exception;
  } catch (const std::exception& error) {
    return std::make_exception_ptr(
        SerializationError(std::string(what) + " can't be sent: " + error.what()));
  } catch (...) {
    return exception;
  }
}

using GiveMessage = FunctionRef<void(std::span<const std::byte>, const OutgoingCargo&)>;

void give_exception(std::exception_ptr exception, const char* unsendable, ExceptionCargo cargo,
                    GiveMessage give) {
  constexpr int attempts = 2;
  for (int attempt = 0; attempt < attempts; ++attempt) {
    bool has_cargo = false;
    try {
      if (unsendable != nullptr) {
        exception = as_failed_result(exception, std::exchange(unsendable, nullptr));
      }
      OutArchive out;
      encode_exception(out, exception, cargo);
      has_cargo = !out.cargo().empty();
      give(out.bytes(), out.cargo());
      return;
    } catch (...) {
      if (has_cargo) {
        // No room for that, perhaps, and one that was closed can't go. Its texts can.
        cargo = ExceptionCargo::stays;
        --attempt;
      } else {
        // No memory for it, perhaps; say at least that.
        exception = std::current_exception();
      }
    }
  }
  give({}, {});
}

}  // namespace

void give_exception(std::exception_ptr exception, const char* unsendable, GiveMessage give) {
  give_exception(std::move(exception), unsendable, ExceptionCargo::travels, give);
}

void give_exception(std::exception_ptr exception, const char* unsendable,
                    FunctionRef<void(std::span<const std::byte>)> give) {
  give_exception(std::move(exception), unsendable, ExceptionCargo::stays,
                 [&](std::span<const std::byte> bytes, const OutgoingCargo&) { give(bytes); });
}

std::exception_ptr take_exception(std::span<const std::byte> bytes, IncomingCargo& cargo) {
  if (bytes.empty()) return std::make_exception_ptr(std::bad_alloc());
  InArchive in(bytes, cargo);
  return decode_exception(in);
}

}  // namespace kin::detail
