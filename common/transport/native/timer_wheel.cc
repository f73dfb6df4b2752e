#include "timer_wheel.h"

namespace longline {

void TimerWheel::set(Timer *timer, uint32_t ticks) {
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

void TimerWheel::stop(Timer *timer) {
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

Timer *TimerWheel::tick() {
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
