// Fuzzer of the timer wheel, the transport and TLS: random calls, each compared with a simple
// model. Deterministic except for the kernel: `fuzz <seed> <steps>`. To be run with sanitizers;
// prints the failed check and aborts.
#include <map>
#include <set>
#include <vector>

#include "../../../common/transport/native/transport.h"
#include "fuzz.h"

using longline::Event;
using longline::Timer;
using longline::TimerWheel;
using longline::Transport;

std::mt19937 randomness;

namespace {

// A handshake takes as long as many steps of the others.
constexpr int kStepsPerHandshake = 200;

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
        // Also beyond one turn of the wheel.
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

// The transport connects to its own listener, so both ends of a connection are its own.
void fuzzTransport(int steps) {
  constexpr uint32_t kConnectionsMax = 64;
  constexpr size_t kSendBufferBytesMax = 4096;
  static char readBuffer[8192];
  // More than the kernel buffers.
  static char payload[4 * 1024 * 1024];
  Transport transport({kConnectionsMax, kSendBufferBytesMax}, readBuffer, sizeof readBuffer);
  int port = transport.listen("127.0.0.1", 0);
  CHECK(port > 0);
  enum State { kConnecting, kOpen, kEnded };
  using Id = std::pair<uint32_t, uint32_t>;
  std::map<Id, State> alive;
  std::set<Id> gone;
  // Accepted and hit by a random id before their open event was fetched.
  std::set<Id> unreported;
  std::map<Id, Id> piped;  // both ways
  auto unpipe = [&](Id id) {
    auto it = piped.find(id);
    if (it == piped.end()) return;
    piped.erase(it->second);
    piped.erase(id);
  };
  auto any = [&]() -> Id {
    // Also closed connections, and some that never existed.
    if (below(8) == 0) return {below(80), below(50)};
    if (below(8) == 0 && !gone.empty()) {
      auto it = gone.lower_bound({below(80), below(50)});
      if (it != gone.end()) return *it;
    }
    if (alive.empty()) return {0, 0};
    auto it = alive.lower_bound({below(80), 0});
    return it == alive.end() ? alive.begin()->first : it->first;
  };
  // As native-transport.ts does: all events are fetched before the next poll.
  auto fetchAll = [&] {
    Event events[16];
    while (uint32_t count = transport.fetch(events, below(16) + 1)) {
      for (uint32_t i = 0; i < count; i++) {
        const Event &event = events[i];
        Id id = {event.slot, event.generation};
        if (event.type == longline::kOverLimit) continue;
        auto it = alive.find(id);
        if (event.type == longline::kOpen) {
          unreported.erase(id);
          if (it == alive.end()) {
            CHECK(gone.count(id) == 0);
            alive.emplace(id, kOpen);
          } else if (it->second == kConnecting) {
            it->second = kOpen;
          } else {
            CHECK(it->second == kEnded);
          }
          continue;
        }
        CHECK(it != alive.end());
        if (event.type >= longline::kClosedByPeer && event.type <= longline::kClosedByError) {
          unpipe(id);
          alive.erase(it);
          CHECK(gone.insert(id).second);
        } else if (event.type == longline::kBytes) {
          CHECK(event.length > 0 && event.offset + event.length <= sizeof readBuffer);
          CHECK(piped.count(id) == 0);
        }
      }
    }
  };
  for (int step = 0; step < steps; step++) {
    Id id = any();
    bool isAlive = alive.count(id) > 0;
    switch (below(14)) {
      case 0: {
        uint32_t slot, generation;
        int status = transport.connect("127.0.0.1", static_cast<uint16_t>(port), "", &slot,
                                       &generation);
        if (status == 0) {
          CHECK(alive.emplace(Id{slot, generation}, kConnecting).second);
          CHECK(gone.count({slot, generation}) == 0);
        }
        break;
      }
      case 1:
      case 2:
      case 3: {
        size_t length = below(50) == 0 ? sizeof payload : below(600);
        size_t before = transport.bufferedBytes(id.first, id.second);
        auto result = transport.write(id.first, id.second, payload, length);
        if (!isAlive && result != longline::kGone) {
          CHECK(gone.count(id) == 0);
          unreported.insert(id);
        }
        if (result == longline::kFull) {
          CHECK(before > 0 && before + length > kSendBufferBytesMax);
          CHECK(transport.bufferedBytes(id.first, id.second) == before);
        }
        break;
      }
      case 4:
        transport.end(id.first, id.second);
        unpipe(id);
        if (isAlive) alive[id] = kEnded;
        break;
      case 5:
        if (below(3) != 0) break;
        transport.destroy(id.first, id.second);
        unpipe(id);
        if (isAlive) alive[id] = kEnded;
        break;
      case 6:
        transport.setTimer(id.first, id.second, below(5));
        break;
      case 7:
        transport.tick();
        break;
      case 8: {
        // Events of earlier reads would still be reported.
        fetchAll();
        Id other = any();
        bool isPossible = id != other && alive.count(id) > 0 && alive.count(other) > 0 &&
                          alive[id] == kOpen && alive[other] == kOpen &&
                          piped.count(id) == 0 && piped.count(other) == 0;
        // pipe also fails after a forwarded FIN, which is not part of the model.
        if (transport.pipe(id.first, id.second, other.first, other.second)) {
          CHECK(isPossible);
          piped[id] = other;
          piped[other] = id;
        }
        break;
      }
      case 9:
        transport.pause(id.first, id.second);
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
      const Event &event = events[i];
      if (event.type == longline::kOpen) unreported.erase({event.slot, event.generation});
      if (event.type >= longline::kClosedByPeer && event.type <= longline::kClosedByError) {
        alive.erase({event.slot, event.generation});
      }
    }
  }
  for (const auto &[id, state] : alive) {
    fprintf(stderr, "never closed: slot %u generation %u state %d\n", id.first, id.second, state);
  }
  CHECK(alive.empty());
  CHECK(unreported.empty());
  CHECK(transport.sendBufferBytes() == 0);
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  randomness.seed(static_cast<uint32_t>(atoi(argv[1])));
  int steps = atoi(argv[2]);
  fuzzWheel(steps);
  fuzzTransport(steps);
  fuzzTls(steps / kStepsPerHandshake);
  printf("fuzz: seed %s, %d steps, no failure\n", argv[1], steps);
  return 0;
}
