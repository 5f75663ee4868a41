// SPDX-License-Identifier: BSL-1.0
//
// demo: a question carries the queue on which its answer is to come: queues travel in messages
//
// Two servers take questions from one queue. Each asker gives a queue of its own along, so that nobody
// gets the answer to another's question.

#include <kin/kin.hpp>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

namespace {

struct Question {
  std::string text;
  kin::Queue<std::string> answer;
};

void serve(const kin::Queue<Question>& questions) {
  for (const Question& question : questions) {
    std::string backwards = question.text;
    std::reverse(backwards.begin(), backwards.end());
    question.answer.put(backwards);
  }
}

}  // namespace

int main() {
  const kin::Queue<Question> questions;
  std::vector<kin::Process> servers;
  for (int i = 0; i < 2; ++i) servers.emplace_back(serve, questions).start();

  // These queues are younger than the servers, and reach them all the same.
  for (const std::string text : {"stressed", "drawer", "not a palindrome"}) {
    const Question question{.text = text, .answer = {}};
    questions.put(question);
    std::cout << text << " backwards is " << question.answer.get() << '\n';
  }

  questions.shutdown();
  for (kin::Process& server : servers) server.join();
  std::cout << "the servers have ended\n";
}
