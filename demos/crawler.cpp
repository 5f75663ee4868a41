// SPDX-License-Identifier: BSL-1.0
//
// demo: a crawler: workers fetch pages, a callback in the parent takes their titles out and follows their links
//
// The site is a small web server that the demo starts, on loopback. A worker that fetches does nothing but
// wait, so there are more workers than processors. Callbacks come one at a time, in one thread: so the file
// and the list of what was seen need no lock of their own. A callback may submit what it found.

#include <kin/kin.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>

#include <unistd.h>

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

// ---- the site: page n leads to the pages 2n and 2n + 1, and there are 31 of them

constexpr int last_page = 31;

std::string path_of(int number) { return "/page/" + std::to_string(number); }

http::response<http::string_body> answer(const std::string& path) {
  http::response<http::string_body> response;
  const int number = path.starts_with("/page/") ? std::atoi(path.c_str() + 6) : 0;
  if (number < 1 || number > last_page) {
    response.result(http::status::not_found);
  } else {
    response.body() = "<html><head><title>Page " + std::to_string(number) + "</title></head>\n";
    for (const int next : {2 * number, 2 * number + 1}) {
      response.body() += "<a href=\"" + path_of(next) + "\">more</a>\n";
    }
  }
  response.prepare_payload();
  return response;
}

void serve(const kin::Queue<std::uint16_t>& ports) {
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  ports.put(acceptor.local_endpoint().port());
  while (true) {
    tcp::socket client = acceptor.accept();
    boost::beast::flat_buffer buffer;
    http::request<http::empty_body> request;
    http::read(client, buffer, request);
    http::write(client, answer(std::string(request.target())));
  }
}

// ---- in a worker

struct Page {
  std::string path;
  std::string text;
  pid_t worker = 0;

  template <typename Archive>
  void serialize(Archive& archive, unsigned /*version*/) {
    archive& path& text& worker;
  }
};

Page fetch(std::uint16_t port, const std::string& path) {
  asio::io_context context;
  tcp::socket server(context);
  server.connect({asio::ip::address_v4::loopback(), port});
  http::request<http::empty_body> request(http::verb::get, path, 11);
  request.set(http::field::host, "localhost");
  http::write(server, request);
  boost::beast::flat_buffer buffer;
  http::response<http::string_body> response;
  http::read(server, buffer, response);
  if (response.result() != http::status::ok) {
    throw std::runtime_error(path + ": " + std::string(response.reason()));
  }
  return {path, response.body(), ::getpid()};
}

// ---- in the parent

class Crawler {
 public:
  Crawler(std::uint16_t port, const std::filesystem::path& titles) : port_(port), file_(titles) {}

  /// Comes back when there is nothing left to fetch.
  void crawl(const std::string& first) {
    follow(first);
    all_done_.get_future().get();
    pool_.close();
    pool_.join();
    file_.close();
  }

  void report() const {
    std::cout << seen_.size() << " pages were asked for, " << missing_ << " were not there\n";
    std::cout << (workers_.contains(::getpid()) ? "the parent fetched some\n"
                                                : "the parent fetched none\n");
  }

 private:
  void follow(const std::string& path) {
    if (!seen_.insert(path).second) return;
    ++open_;
    pool_.apply_async({.callback = [this](const Page& page) { read(page); },
                       .error_callback = [this](const std::exception&) { miss(); }},
                      fetch, port_, path);
  }

  void read(const Page& page) {
    static const std::regex title("<title>(.*?)</title>");
    static const std::regex link("href=\"(.*?)\"");
    workers_.insert(page.worker);
    std::smatch match;
    if (std::regex_search(page.text, match, title)) {
      file_ << page.path << ": " << match[1] << '\n';
    }
    for (std::sregex_iterator at(page.text.begin(), page.text.end(), link), end; at != end; ++at) {
      follow((*at)[1]);
    }
    one_less();
  }

  void miss() {
    ++missing_;
    one_less();
  }

  void one_less() {
    if (--open_ == 0) all_done_.set_result();
  }

  std::uint16_t port_;
  std::ofstream file_;
  std::set<std::string> seen_;
  std::set<pid_t> workers_;
  int open_ = 0;
  int missing_ = 0;
  kin::Promise<void> all_done_;
  kin::Pool pool_{8};  // last: it is gone before what its callbacks use
};

}  // namespace

int main() {
  const auto titles = std::filesystem::temp_directory_path() /
                      ("kin-crawler-" + std::to_string(::getpid()) + ".txt");
  const kin::Queue<std::uint16_t> ports;
  kin::Process site({.daemon = true}, serve, ports);
  site.start();

  Crawler crawler(ports.get(), titles);
  crawler.crawl(path_of(1));
  crawler.report();

  std::set<std::string> lines;
  std::ifstream file(titles);
  for (std::string line; std::getline(file, line);) lines.insert(line);
  std::cout << lines.size() << " titles, such as " << *lines.begin() << '\n';
  std::filesystem::remove(titles);
}
