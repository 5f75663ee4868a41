// SPDX-License-Identifier: BSL-1.0
//
// demo: an echo server in an event loop, on select, poll or epoll; events bring their handlers along
//
// One process serves many clients without a thread for each: it asks the kernel which of its descriptors
// are readable, and calls the handler of each. Sockets, pipes, queues and processes all have a descriptor.
//
//   demos/run event_loop_server          all three, one after the other
//   demos/run event_loop_server epoll    one of select, poll, epoll
//
// An event is a message that names the function to call. Function pointers may travel: all kin run the same
// program, and a function has the same address in each of them.

#include <kin/kin.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr int clients = 40;
constexpr int lines = 25;  // of each client
constexpr std::array announcements = {"the shop is open", "half time", "the shop will close"};

int checked(const char* call, int result) {
  if (result == -1) throw kin::SystemError(call, errno);
  return result;
}

// ---- the three ways to ask which descriptors are readable

class Selector {
 public:
  Selector() = default;
  Selector(const Selector&) = delete;
  Selector& operator=(const Selector&) = delete;
  virtual ~Selector() = default;

  virtual void add(int fd) = 0;
  virtual void remove(int fd) = 0;
  /// Waits until there is one.
  virtual std::vector<int> readable() = 0;
};

// A set of bits is copied to the kernel and back at each call, and no descriptor may be 1024 or more.
class Select final : public Selector {
 public:
  void add(int fd) override {
    if (fd >= FD_SETSIZE) throw kin::SystemError("select", EMFILE);
    fds_.insert(fd);
  }
  void remove(int fd) override { fds_.erase(fd); }
  std::vector<int> readable() override {
    fd_set bits;
    FD_ZERO(&bits);
    for (const int fd : fds_) FD_SET(fd, &bits);
    checked("select", ::select(*fds_.rbegin() + 1, &bits, nullptr, nullptr, nullptr));
    std::vector<int> found;
    std::copy_if(fds_.begin(), fds_.end(), std::back_inserter(found),
                 [&](int fd) { return FD_ISSET(fd, &bits); });
    return found;
  }

 private:
  std::set<int> fds_;
};

// A list is copied at each call. Any number of descriptors.
class Poll final : public Selector {
 public:
  void add(int fd) override { fds_.push_back({fd, POLLIN, 0}); }
  void remove(int fd) override {
    std::erase_if(fds_, [fd](const pollfd& each) { return each.fd == fd; });
  }
  std::vector<int> readable() override {
    checked("poll", ::poll(fds_.data(), fds_.size(), -1));
    std::vector<int> found;
    for (const pollfd& each : fds_) {
      if (each.revents != 0) found.push_back(each.fd);
    }
    return found;
  }

 private:
  std::vector<pollfd> fds_;
};

// The kernel keeps the list; a call costs as much as is found.
class Epoll final : public Selector {
 public:
  void add(int fd) override {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    checked("epoll_ctl", ::epoll_ctl(set_.get(), EPOLL_CTL_ADD, fd, &event));
  }
  void remove(int fd) override {
    checked("epoll_ctl", ::epoll_ctl(set_.get(), EPOLL_CTL_DEL, fd, nullptr));
  }
  std::vector<int> readable() override {
    std::array<epoll_event, 64> events{};
    const int count = checked("epoll_wait", ::epoll_wait(set_.get(), events.data(), 64, -1));
    std::vector<int> found;
    for (int i = 0; i < count; ++i) found.push_back(events.at(static_cast<std::size_t>(i)).data.fd);
    return found;
  }

 private:
  kin::UniqueFd set_{checked("epoll_create1", ::epoll_create1(EPOLL_CLOEXEC))};
};

std::unique_ptr<Selector> make_selector(std::string_view name) {
  if (name == "select") return std::make_unique<Select>();
  if (name == "poll") return std::make_unique<Poll>();
  if (name == "epoll") return std::make_unique<Epoll>();
  return nullptr;
}

// ---- the loop

class Loop {
 public:
  using Handler = std::function<void()>;

  explicit Loop(std::unique_ptr<Selector> selector) : selector_(std::move(selector)) {}

  void watch(int fd, Handler handler) {
    selector_->add(fd);
    handlers_[fd] = std::move(handler);
  }
  void forget(int fd) {
    if (handlers_.erase(fd) != 0) selector_->remove(fd);
  }
  /// Until there is nothing to watch.
  void run() {
    while (!handlers_.empty()) {
      for (const int fd : selector_->readable()) {
        const auto found = handlers_.find(fd);
        if (found == handlers_.end()) continue;  // forgotten by a handler just before
        const Handler handler = found->second;   // it may forget itself
        handler();
      }
    }
  }

 private:
  std::unique_ptr<Selector> selector_;
  std::map<int, Handler> handlers_;
};

// ---- what other processes send: what to do, and with what

class Server;

struct Event {
  void (*handler)(Server&, const Event&) = nullptr;
  pid_t sender = 0;
  int number = 0;
  std::string text;
};

// ---- the server

class Server {
 public:
  explicit Server(std::unique_ptr<Selector> selector) : loop_(std::move(selector)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    checked("bind", ::bind(listener_.get(), generic, sizeof address));  // to any port that is free
    checked("listen", ::listen(listener_.get(), clients));
  }

  [[nodiscard]] sockaddr_in address() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    checked("getsockname",
            ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size));
    return address;
  }

  /// Serves until the processes have ended and the pipe is at its end.
  void run(const std::vector<kin::Process>& processes, const kin::Queue<Event>& queue,
           const kin::Reader<Event>& pipe) {
    loop_.watch(listener_.get(), [this] { welcome(); });
    loop_.watch(queue.fileno(), [this, queue] { handle_all(queue); });
    loop_.watch(pipe.fileno(), [this, pipe] { handle_all(pipe); });
    std::size_t running = processes.size();
    for (const kin::Process& process : processes) {
      loop_.watch(process.sentinel(), [this, &process, &queue, &running] {
        loop_.forget(process.sentinel());
        if (--running > 0) return;
        handle_all(queue);  // what the last of them had to say
        loop_.forget(queue.fileno());
        loop_.forget(listener_.get());
      });
    }
    loop_.run();
  }

  // What events do; by the functions below.
  void add_echoes(int number) { echoes_ += number; }
  void add_notice() { ++notices_; }

  [[nodiscard]] int welcomed() const { return welcomed_; }
  [[nodiscard]] int echoes() const { return echoes_; }
  [[nodiscard]] int notices() const { return notices_; }

 private:
  void welcome() {
    // Non-blocking: that it was readable is a hint, for which it may be too late.
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) return;
    ++welcomed_;
    connections_[fd] = kin::UniqueFd(fd);
    loop_.watch(fd, [this, fd] { echo(fd); });
  }

  void echo(int fd) {
    std::array<char, 4096> text{};
    const ssize_t size = ::recv(fd, text.data(), text.size(), 0);
    if (size == -1 && errno == EAGAIN) return;
    // A client reads each line before it sends the next, so there is room.
    if (size > 0 && ::send(fd, text.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL) == size) {
      return;
    }
    loop_.forget(fd);  // first, as its number may come again
    connections_.erase(fd);
  }

  void handle_all(const kin::Queue<Event>& queue) {
    while (const std::optional<Event> event = queue.try_get()) event->handler(*this, *event);
  }

  void handle_all(const kin::Reader<Event>& pipe) {
    try {
      while (const std::optional<Event> event = pipe.try_recv()) event->handler(*this, *event);
    } catch (const kin::EndOfStream&) {
      loop_.forget(pipe.fileno());
    }
  }

  Loop loop_;
  kin::UniqueFd listener_{
      checked("socket", ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0))};
  std::map<int, kin::UniqueFd> connections_;
  int welcomed_ = 0;
  int echoes_ = 0;
  int notices_ = 0;
};

// ---- handlers: named by those that send events, called in the server

void count_echoes(Server& server, const Event& event) { server.add_echoes(event.number); }

void show_notice(Server& server, const Event& event) {
  server.add_notice();
  std::cout << "  \"" << event.text << "\": sent by process " << event.sender << ", handled by "
            << ::getpid() << '\n';
}

// ---- the other processes

// Sends lines, reads them back, and reports through the queue how many were right.
void be_client(int number, const sockaddr_in& address, const kin::Queue<Event>& events) {
  const kin::UniqueFd socket(checked("socket", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  checked("connect", ::connect(socket.get(), generic, sizeof address));
  int right = 0;
  for (int i = 0; i < lines; ++i) {
    const std::string line = "client " + std::to_string(number) + ", line " + std::to_string(i);
    if (::send(socket.get(), line.data(), line.size(), MSG_NOSIGNAL) == -1) break;
    std::string echo(line.size(), '\0');
    if (::recv(socket.get(), echo.data(), echo.size(), MSG_WAITALL) <= 0) break;
    if (echo == line) ++right;
  }
  events.put({.handler = count_echoes, .sender = ::getpid(), .number = right, .text = {}});
}

void be_operator(const kin::Writer<Event>& events) {
  for (const char* text : announcements) {
    events.send({.handler = show_notice, .sender = ::getpid(), .number = 0, .text = text});
  }
}

// Whether nothing was lost.
bool serve(const std::string& name) {
  std::cout << name << '\n';
  Server server(make_selector(name));
  const kin::Queue<Event> queue;
  std::vector<kin::Process> processes;
  for (int number = 0; number < clients; ++number) {
    processes.emplace_back(be_client, number, server.address(), queue).start();
  }
  // Made behind the clients: they have no end of it that they would have to close.
  const kin::SimplexPipe<Event> pipe;
  processes.emplace_back([pipe] { be_operator(pipe.writer); }).start();
  pipe.writer.close();

  server.run(processes, queue, pipe.reader);
  std::cout << "  " << name << ": " << server.welcomed() << " clients, " << server.echoes()
            << " of " << clients * lines << " lines came back; " << server.notices()
            << " notices through the pipe\n";
  return server.welcomed() == clients && server.echoes() == clients * lines &&
         server.notices() == int{announcements.size()};
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> given(argv + 1, argv + argc);
  const std::vector<std::string> all = {"select", "poll", "epoll"};
  for (const std::string& name : given) {
    if (std::find(all.begin(), all.end(), name) == all.end()) {
      std::cerr << "event_loop_server: there are select, poll and epoll, not '" << name << "'\n";
      return 2;
    }
  }
  bool nothing_lost = true;
  for (const std::string& name : given.empty() ? all : given) {
    nothing_lost = serve(name) && nothing_lost;
  }
  return nothing_lost ? 0 : 1;
}
