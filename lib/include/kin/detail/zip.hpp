// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <cstddef>
#include <iterator>
#include <ranges>
#include <tuple>
#include <utility>

namespace kin::detail {

template <typename Engine>
struct Work;

/// Several views as one, of tuples of arguments; ends with the shortest. std::views::zip of C++23.
template <typename Engine, std::ranges::view... Views>
class Zip : public std::ranges::view_interface<Zip<Engine, Views...>> {
 public:
  explicit Zip(Views... views) : views_(std::move(views)...) {}
  Zip() = default;

  class Iterator {
   public:
    using value_type =
        std::tuple<typename Work<Engine>::template Argument<std::ranges::range_value_t<Views>>...>;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(std::tuple<Views...>& views)
        : views_(&views),
          at_(std::apply(
              [](Views&... each) {
                return std::tuple<std::ranges::iterator_t<Views>...>(std::ranges::begin(each)...);
              },
              views)) {}

    [[nodiscard]] value_type operator*() const {
      return std::apply([](auto&... each) { return value_type(*each...); }, at_);
    }
    Iterator& operator++() {
      std::apply([](auto&... each) { (++each, ...); }, at_);
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& iterator, std::default_sentinel_t /*end*/) {
      return iterator.is_at_end(std::index_sequence_for<Views...>{});
    }

   private:
    template <std::size_t... n>
    [[nodiscard]] bool is_at_end(std::index_sequence<n...> /*each*/) const {
      return ((std::get<n>(at_) == std::ranges::end(std::get<n>(*views_))) || ...);
    }

    std::tuple<Views...>* views_ = nullptr;
    mutable std::tuple<std::ranges::iterator_t<Views>...> at_;
  };

  [[nodiscard]] Iterator begin() { return Iterator(views_); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::tuple<Views...> views_;
};

}  // namespace kin::detail
