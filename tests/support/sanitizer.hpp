// SPDX-License-Identifier: BSL-1.0
#pragma once

/// Which sanitizer this is built for, and what can't be done under it.
namespace support {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool is_thread_sanitized = true;
#else
inline constexpr bool is_thread_sanitized = false;
#endif
#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool is_address_sanitized = true;
#else
inline constexpr bool is_address_sanitized = false;
#endif
inline constexpr bool is_sanitized = is_thread_sanitized || is_address_sanitized;

/// Of g++ 12 the sanitizers do not hold their allocator's locks over a fork, as malloc does: a child that
/// is forked while another thread allocates may hang in its first operator new.
inline constexpr bool can_fork_among_threads = !is_sanitized;
inline constexpr const char* cannot_fork_among_threads =
    "skipped: among threads, as a child may hang in the sanitizer's allocator";

/// The thread sanitizer has a thread of its own, which looks like one of the application's: so there are
/// warnings of threads.
inline constexpr bool counts_threads_right = !is_thread_sanitized;
inline constexpr const char* counts_threads_wrong =
    "skipped: the thread sanitizer's own thread is taken for the application's";

}  // namespace support
