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

inline void TimerWheel::set(Timer *timer, uint32_t ticks) {
  stop(timer);
  timer->due = now_ + (ticks == 0 ? 1 : ticks);
  // 0 means idle. The count wraps after 34 years, when a timer is one tick late.
  if (timer->due == 0) timer->due = 1;
  Timer *&head = buckets_[timer->due % kBuckets];
  timer->next = head;
  timer->previous = nullptr;
  if (head != nullptr) head->previous = timer;
  head = timer;
}

inline void TimerWheel::stop(Timer *timer) {
  if (timer->due == 0) return;
  if (timer->previous != nullptr) {
    timer->previous->next = timer->next;
  } else {
    buckets_[timer->due % kBuckets] = timer->next;
  }
  if (timer->next != nullptr) timer->next->previous = timer->previous;
  timer->next = timer->previous = nullptr;
  timer->due = 0;
}

inline Timer *TimerWheel::tick() {
  now_++;
  Timer *expired = nullptr;
  for (Timer *timer = buckets_[now_ % kBuckets]; timer != nullptr;) {
    Timer *following = timer->next;
    if (timer->due == now_) {
      stop(timer);
      timer->next = expired;
      expired = timer;
    }
    timer = following;
  }
  return expired;
}

}  // namespace longline
