// Functions of the addon that need no transport.
#pragma once
#include <malloc.h>
#include <node_api.h>
#include <sys/socket.h>

namespace longline {

// limitSocketBuffers(descriptor, bytes): sockets that it accepts from now on inherit the bounds.
inline napi_value limitSocketBuffers(napi_env env, napi_callback_info info) {
  napi_value values[2];
  size_t count = 2;
  napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  int32_t descriptor = -1;
  int32_t bytes = 0;
  napi_get_value_int32(env, values[0], &descriptor);
  napi_get_value_int32(env, values[1], &bytes);
  setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  return nullptr;
}

// trimMemory(): gives the pages of freed memory back to the system. glibc keeps them, in one pool
// for each of some threads. Other C libraries have no such function.
inline napi_value trimMemory(napi_env, napi_callback_info) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  return nullptr;
}

}  // namespace longline
