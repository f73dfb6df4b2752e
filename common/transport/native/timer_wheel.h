// A hashed timer wheel (Varghese and Lauck, 1987, scheme 6): setting and stopping a timer is O(1),
// and a tick visits only the timers in its bucket. It is independent of sockets; a timer and its
// links are embedded in the object that it belongs to. Single-threaded.
#pragma once
#include <cstdint>

namespace longline {

// Idle while `due` is 0.
struct Timer {
  Timer *next = nullptr;
  Timer *previous = nullptr;
  // The tick at which it expires.
  uint32_t due = 0;
};

class TimerWheel {
 public:
  // Sets a timer to expire after `ticks`, at least one. Replaces its former setting.
  void set(Timer *timer, uint32_t ticks);
  void stop(Timer *timer);
  // Advances by one tick. Returns the expired timers, stopped and linked by `next`.
  Timer *tick();
  uint32_t now() const { return now_; }

 private:
  static constexpr uint32_t kBuckets = 256;
  Timer *buckets_[kBuckets] = {};
  uint32_t now_ = 0;
};

}  // namespace longline
