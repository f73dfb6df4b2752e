// A hashed timer wheel (Varghese and Lauck, 1987, scheme 6): setting and stopping a timer is O(1),
// and a tick looks only at those whose time falls into its bucket. It knows no sockets; the links
// live in whatever has the timer. Single-threaded.
#pragma once
#include <cstdint>

namespace longline {

// One timer. Idle while `due` is 0.
struct Timer {
  Timer *next = nullptr;
  Timer *previous = nullptr;
  // The tick at which it runs out.
  uint32_t due = 0;
};

class TimerWheel {
 public:
  // Sets a timer to run out after so many ticks, at least one, instead of what it was set to.
  void set(Timer *timer, uint32_t ticks);
  void stop(Timer *timer);
  // Advances by one tick and returns the timers that have run out, linked by `next`, stopped.
  Timer *tick();
  uint32_t now() const { return now_; }

 private:
  static constexpr uint32_t kBuckets = 256;
  Timer *buckets_[kBuckets] = {};
  uint32_t now_ = 0;
};

}  // namespace longline
