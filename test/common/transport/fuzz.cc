// Random calls against the timer wheel and the transport, each beside a model that is too simple to
// be wrong. Deterministic but for what the kernel does: `fuzz <seed> <steps>`. To be run with
// sanitizers; prints what broke and aborts.
#include <stdio.h>
#include <stdlib.h>

#include <map>
#include <random>
#include <set>
#include <vector>

#include "../../../common/transport/native/transport.h"

#define CHECK(what)                                           \
  do {                                                        \
    if (!(what)) {                                            \
      fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what); \
      abort();                                                \
    }                                                         \
  } while (0)

using longline::Event;
using longline::Timer;
using longline::TimerWheel;
using longline::Transport;

namespace {

std::mt19937 randomness;

uint32_t below(uint32_t bound) { return static_cast<uint32_t>(randomness() % bound); }

void fuzzWheel(int steps) {
  constexpr uint32_t kTimers = 200;
  TimerWheel wheel;
  std::vector<Timer> timers(kTimers);
  std::map<uint32_t, uint32_t> due;  // by timer
  for (int step = 0; step < steps; step++) {
    uint32_t i = below(kTimers);
    switch (below(4)) {
      case 0:
      case 1: {
        // Beyond one turn of the wheel, too.
        uint32_t ticks = below(10) == 0 ? below(2000) : below(20);
        wheel.set(&timers[i], ticks);
        due[i] = wheel.now() + (ticks == 0 ? 1 : ticks);
        break;
      }
      case 2:
        wheel.stop(&timers[i]);
        due.erase(i);
        break;
      default: {
        std::set<uint32_t> expired;
        for (Timer *timer = wheel.tick(); timer != nullptr;) {
          Timer *next = timer->next;
          timer->next = nullptr;
          expired.insert(static_cast<uint32_t>(timer - timers.data()));
          timer = next;
        }
        std::set<uint32_t> expected;
        for (auto entry = due.begin(); entry != due.end();) {
          if (entry->second == wheel.now()) {
            expected.insert(entry->first);
            entry = due.erase(entry);
          } else {
            ++entry;
          }
        }
        CHECK(expired == expected);
      }
    }
  }
}

// The transport talks to itself: whatever it connects, it also accepts.
void fuzzTransport(int steps) {
  constexpr uint32_t kConnectionsMax = 64;
  constexpr size_t kSendBufferBytesMax = 4096;
  static char readBuffer[8192];
  // More than the kernel takes of it.
  static char payload[4 * 1024 * 1024];
  Transport transport({kConnectionsMax, kSendBufferBytesMax}, readBuffer, sizeof readBuffer);
  int port = transport.listen("127.0.0.1", 0);
  CHECK(port > 0);
  enum State { kConnecting, kOpen, kSilenced };
  using Name = std::pair<uint32_t, uint32_t>;
  std::map<Name, State> alive;
  std::set<Name> gone;
  // Accepted, found by a random name, and not told yet.
  std::set<Name> untold;
  std::map<Name, Name> piped;  // both ways
  auto unpipe = [&](Name name) {
    auto it = piped.find(name);
    if (it == piped.end()) return;
    piped.erase(it->second);
    piped.erase(name);
  };
  auto any = [&]() -> Name {
    // Also those that are gone, and some that never were.
    if (below(8) == 0) return {below(80), below(50)};
    if (below(8) == 0 && !gone.empty()) {
      auto it = gone.lower_bound({below(80), below(50)});
      if (it != gone.end()) return *it;
    }
    if (alive.empty()) return {0, 0};
    auto it = alive.lower_bound({below(80), 0});
    return it == alive.end() ? alive.begin()->first : it->first;
  };
  // As the caller does: nothing new before all that was is told.
  auto fetchAll = [&] {
    Event events[16];
    while (uint32_t count = transport.fetch(events, below(16) + 1)) {
      for (uint32_t i = 0; i < count; i++) {
        const Event &event = events[i];
        Name of = {event.slot, event.generation};
        if (event.type == longline::kTurnedAway) continue;
        auto it = alive.find(of);
        if (event.type == longline::kOpen) {
          untold.erase(of);
          if (it == alive.end()) {
            CHECK(gone.count(of) == 0);
            alive.emplace(of, kOpen);
          } else if (it->second == kConnecting) {
            it->second = kOpen;
          } else {
            CHECK(it->second == kSilenced);
          }
          continue;
        }
        CHECK(it != alive.end());
        if (event.type >= longline::kClosedByPeer && event.type <= longline::kClosedByError) {
          unpipe(of);
          alive.erase(it);
          CHECK(gone.insert(of).second);
        } else if (event.type == longline::kBytes) {
          CHECK(event.length > 0 && event.offset + event.length <= sizeof readBuffer);
          CHECK(piped.count(of) == 0);
        }
      }
    }
  };
  for (int step = 0; step < steps; step++) {
    Name name = any();
    bool isAlive = alive.count(name) > 0;
    switch (below(14)) {
      case 0: {
        uint32_t slot, generation;
        int result = transport.connect("127.0.0.1", static_cast<uint16_t>(port), "", &slot, &generation);
        if (result == 0) {
          CHECK(alive.emplace(Name{slot, generation}, kConnecting).second);
          CHECK(gone.count({slot, generation}) == 0);
        }
        break;
      }
      case 1:
      case 2:
      case 3: {
        size_t length = below(50) == 0 ? sizeof payload : below(600);
        size_t before = transport.bufferedBytes(name.first, name.second);
        auto result = transport.write(name.first, name.second, payload, length);
        if (!isAlive && result != longline::kGone) {
          CHECK(gone.count(name) == 0);
          untold.insert(name);
        }
        if (result == longline::kFull) {
          CHECK(before > 0 && before + length > kSendBufferBytesMax);
          CHECK(transport.bufferedBytes(name.first, name.second) == before);
        }
        break;
      }
      case 4:
        transport.end(name.first, name.second);
        unpipe(name);
        if (isAlive) alive[name] = kSilenced;
        break;
      case 5:
        if (below(3) != 0) break;
        transport.destroy(name.first, name.second);
        unpipe(name);
        if (isAlive) alive[name] = kSilenced;
        break;
      case 6:
        transport.setTimer(name.first, name.second, below(5));
        break;
      case 7:
        transport.tick();
        break;
      case 8: {
        // What was read before would still be told.
        fetchAll();
        Name other = any();
        bool isPossible = name != other && alive.count(name) > 0 && alive.count(other) > 0 &&
                          alive[name] == kOpen && alive[other] == kOpen &&
                          piped.count(name) == 0 && piped.count(other) == 0;
        // Not, either, of one that was told to send no more, which the model does not know.
        if (transport.pipe(name.first, name.second, other.first, other.second)) {
          CHECK(isPossible);
          piped[name] = other;
          piped[other] = name;
        }
        break;
      }
      case 9:
        transport.pause(name.first, name.second);
        break;
      default: {
        fetchAll();
        CHECK(alive.size() <= kConnectionsMax + 1);
        transport.poll();
      }
    }
  }
  transport.close();
  Event events[16];
  while (uint32_t count = transport.fetch(events, 16)) {
    for (uint32_t i = 0; i < count; i++) {
      if (events[i].type == longline::kOpen) untold.erase({events[i].slot, events[i].generation});
      if (events[i].type >= longline::kClosedByPeer && events[i].type <= longline::kClosedByError) {
        alive.erase({events[i].slot, events[i].generation});
      }
    }
  }
  for (const auto &[name, state] : alive) {
    fprintf(stderr, "never closed: slot %u generation %u state %d\n", name.first, name.second, state);
  }
  CHECK(alive.empty());
  CHECK(untold.empty());
  CHECK(transport.sendBufferBytes() == 0);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  randomness.seed(static_cast<uint32_t>(atoi(argv[1])));
  int steps = atoi(argv[2]);
  fuzzWheel(steps);
  fuzzTransport(steps);
  printf("fuzz: seed %s, %d steps, nothing found\n", argv[1], steps);
  return 0;
}
