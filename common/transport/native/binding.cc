// The JavaScript binding of the transport, without logic: one class with the functions of
// transport.h, in their order. Instances share no state, so each thread can have its own. An open
// uv_poll at the end of a worker would abort the process, so a cleanup hook closes it before.
#include <arpa/inet.h>
#include <errno.h>
#include <node_api.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/socket.h>
#include <uv.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "process.h"
#include "transport.h"

namespace {

using longline::Event;
using longline::Transport;

// A connection number is `slot + generation * kSlots` (SLOTS in ../transport.ts).
constexpr uint64_t kSlots = 1u << 24;
constexpr size_t kHostBytesMax = 64;

struct Binding {
  Binding(longline::Limits limits, char *readBuffer, size_t readBufferBytes)
      : transport(limits, readBuffer, readBufferBytes) {}

  Transport transport;
  napi_env env = nullptr;
  napi_ref onReady = nullptr;
  // References that keep the memory to which the transport writes.
  napi_ref readBuffer = nullptr;
  napi_ref events = nullptr;
  Event *fetched = nullptr;
  uint32_t fetchedMax = 0;
  napi_async_cleanup_hook_handle cleanup = nullptr;
  uv_poll_t poll;
  uv_timer_t timer;
  int openHandles = 0;
  bool isClosing = false;
  // The JavaScript object was garbage-collected.
  bool isFinalized = false;
};

void release(Binding *binding) {
  if (binding->openHandles == 0 && binding->isFinalized) delete binding;
}

void onHandleClosed(uv_handle_t *handle) {
  auto *binding = static_cast<Binding *>(handle->data);
  if (--binding->openHandles > 0) return;
  binding->transport.dispose();
  if (binding->cleanup != nullptr) napi_remove_async_cleanup_hook(binding->cleanup);
  binding->cleanup = nullptr;
  release(binding);
}

void stop(Binding *binding) {
  if (binding->isClosing) return;
  binding->isClosing = true;
  binding->transport.close();
  uv_close(reinterpret_cast<uv_handle_t *>(&binding->poll), onHandleClosed);
  uv_close(reinterpret_cast<uv_handle_t *>(&binding->timer), onHandleClosed);
}

void onCleanup(napi_async_cleanup_hook_handle handle, void *data) {
  auto *binding = static_cast<Binding *>(data);
  if (binding->isClosing && binding->openHandles == 0) {
    napi_remove_async_cleanup_hook(handle);
    return;
  }
  stop(binding);
}

void keepAlive(Binding *binding) { uv_ref(reinterpret_cast<uv_handle_t *>(&binding->poll)); }

void call(Binding *binding, napi_ref function) {
  napi_env env = binding->env;
  napi_handle_scope scope;
  napi_open_handle_scope(env, &scope);
  napi_value callee, global, result;
  napi_get_reference_value(env, function, &callee);
  napi_get_global(env, &global);
  if (napi_make_callback(env, nullptr, global, callee, 0, nullptr, &result) ==
      napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env, &error);
    napi_fatal_exception(env, error);
  }
  napi_close_handle_scope(env, scope);
}

void onReadable(uv_poll_t *poll, int, int) {
  auto *binding = static_cast<Binding *>(poll->data);
  binding->transport.poll();
  call(binding, binding->onReady);
}

void onTimeout(uv_timer_t *timer) {
  auto *binding = static_cast<Binding *>(timer->data);
  binding->transport.tick();
  if (binding->transport.hasEvents()) call(binding, binding->onReady);
}

void finalize(napi_env, void *data, void *) {
  auto *binding = static_cast<Binding *>(data);
  binding->isFinalized = true;
  stop(binding);
  release(binding);
}

// The arguments of a call. A missing argument or one of another type reads as 0: the only caller is
// native-transport.ts.
struct Call {
  static constexpr size_t kArguments = 8;
  napi_env env;
  napi_value values[kArguments];
  Binding *binding = nullptr;

  Call(napi_env env, napi_callback_info info) : env(env) {
    size_t count = kArguments;
    napi_value self;
    napi_get_cb_info(env, info, &count, values, &self, nullptr);
    void *data = nullptr;
    napi_unwrap(env, self, &data);
    binding = static_cast<Binding *>(data);
  }
  double number(int i) const {
    double value = 0;
    napi_get_value_double(env, values[i], &value);
    return value;
  }
  uint32_t slot(int i) const { return static_cast<uint64_t>(number(i)) % kSlots; }
  uint32_t generation(int i) const { return static_cast<uint64_t>(number(i)) / kSlots; }
  void text(int i, char (&text)[kHostBytesMax]) const {
    size_t length = 0;
    text[0] = '\0';
    napi_get_value_string_utf8(env, values[i], text, kHostBytesMax, &length);
  }
  template <typename T>
  T *array(int i, size_t *length) const {
    void *data = nullptr;
    *length = 0;
    napi_get_typedarray_info(env, values[i], nullptr, length, &data, nullptr, nullptr);
    return static_cast<T *>(data);
  }
  uint32_t length(int i) const {
    uint32_t length = 0;
    napi_get_array_length(env, values[i], &length);
    return length;
  }
  // The bytes of a typed array, or the text of a string, in an array.
  std::string element(int i, uint32_t index) const {
    napi_value value;
    napi_get_element(env, values[i], index, &value);
    bool isBytes = false;
    napi_is_typedarray(env, value, &isBytes);
    size_t length = 0;
    if (!isBytes) {
      napi_get_value_string_utf8(env, value, nullptr, 0, &length);
      std::string text(length, '\0');
      napi_get_value_string_utf8(env, value, &text[0], length + 1, &length);
      return text;
    }
    void *data = nullptr;
    napi_get_typedarray_info(env, value, nullptr, &length, &data, nullptr, nullptr);
    return std::string(static_cast<char *>(data), length);
  }
  napi_value result(double value) const {
    napi_value number;
    napi_create_double(env, value, &number);
    return number;
  }
};

void erase(std::string *secret) { OPENSSL_cleanse(&(*secret)[0], secret->size()); }

// configureTls(chains, keys, names, ticketKeys, [cipherList, clientAuthorities], isTls12Allowed,
// clientCertificates, startsPlain): arrays of bytes, except `names`: of strings, separated by
// commas. Returns the error, or ''.
napi_value configureTls(napi_env env, napi_callback_info info) {
  Call call(env, info);
  longline::TlsSettings settings;
  for (uint32_t i = 0; i < call.length(0); i++) {
    longline::TlsCertificate certificate = {call.element(0, i), call.element(1, i), {}};
    std::string names = call.element(2, i);
    for (size_t from = 0; from < names.size();) {
      size_t to = std::min(names.find(',', from), names.size());
      certificate.names.push_back(names.substr(from, to - from));
      from = to + 1;
    }
    settings.certificates.push_back(std::move(certificate));
  }
  for (uint32_t i = 0; i < call.length(3); i++) settings.ticketKeys.push_back(call.element(3, i));
  settings.cipherList = call.element(4, 0);
  settings.clientAuthorities = call.element(4, 1);
  settings.isTls12Allowed = call.number(5) != 0;
  settings.clientCertificates = static_cast<longline::ClientCertificates>(call.number(6));
  std::string error = call.binding->transport.configureTls(settings, call.number(7) != 0);
  for (longline::TlsCertificate &each : settings.certificates) erase(&each.key);
  for (std::string &key : settings.ticketKeys) erase(&key);
  napi_value result;
  napi_create_string_utf8(env, error.data(), error.size(), &result);
  return result;
}

napi_value listen(napi_env env, napi_callback_info info) {
  Call call(env, info);
  char host[kHostBytesMax];
  call.text(0, host);
  int result = call.binding->transport.listen(host, static_cast<uint16_t>(call.number(1)));
  if (result >= 0) keepAlive(call.binding);
  return call.result(result);
}

napi_value connect(napi_env env, napi_callback_info info) {
  Call call(env, info);
  char host[kHostBytesMax], localHost[kHostBytesMax];
  call.text(0, host);
  call.text(2, localHost);
  uint32_t slot = 0, generation = 0;
  int status = call.binding->transport.connect(host, static_cast<uint16_t>(call.number(1)),
                                               localHost, &slot, &generation);
  if (status >= 0) keepAlive(call.binding);
  return call.result(status < 0 ? status
                                : static_cast<double>(generation * kSlots + slot));
}

napi_value write(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t length;
  char *bytes = call.array<char>(1, &length);
  return call.result(
      call.binding->transport.write(call.slot(0), call.generation(0), bytes, length));
}

napi_value writeMany(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t connectionsLength, length, resultsLength;
  double *connections = call.array<double>(0, &connectionsLength);
  size_t count = static_cast<size_t>(call.number(1));
  char *bytes = call.array<char>(2, &length);
  uint8_t *results = call.array<uint8_t>(3, &resultsLength);
  if (count > connectionsLength) count = connectionsLength;
  if (count > resultsLength) count = resultsLength;
  // Slots are far apart in memory, and there are more than fit into the cache.
  constexpr size_t kAhead = 4;
  for (size_t i = 0; i < count; i++) {
    if (i + kAhead < count) {
      call.binding->transport.prefetch(static_cast<uint64_t>(connections[i + kAhead]) % kSlots);
    }
    uint64_t connection = static_cast<uint64_t>(connections[i]);
    results[i] = call.binding->transport.write(static_cast<uint32_t>(connection % kSlots),
                                               static_cast<uint32_t>(connection / kSlots), bytes,
                                               length);
  }
  return nullptr;
}

napi_value end(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.end(call.slot(0), call.generation(0));
  return nullptr;
}

napi_value destroy(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.destroy(call.slot(0), call.generation(0));
  return nullptr;
}

napi_value secure(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t length;
  char *bytes = call.array<char>(1, &length);
  call.binding->transport.secure(call.slot(0), call.generation(0), bytes, length);
  return nullptr;
}

napi_value setTimer(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.setTimer(call.slot(0), call.generation(0),
                                   static_cast<uint32_t>(call.number(1)));
  return nullptr;
}

napi_value bufferedBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(static_cast<double>(
      call.binding->transport.bufferedBytes(call.slot(0), call.generation(0))));
}

napi_value remoteAddress(napi_env env, napi_callback_info info) {
  Call call(env, info);
  sockaddr_storage address;
  napi_value result = nullptr;
  if (call.binding->transport.remoteAddress(call.slot(0), call.generation(0), &address) < 0) {
    napi_get_undefined(env, &result);
    return result;
  }
  char host[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 16];
  if (address.ss_family == AF_INET) {
    auto *v4 = reinterpret_cast<sockaddr_in *>(&address);
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    snprintf(text, sizeof text, "%s:%u", host, ntohs(v4->sin_port));
  } else {
    auto *v6 = reinterpret_cast<sockaddr_in6 *>(&address);
    // On a dual-stack socket, the peer's IPv4 address is the last four bytes.
    bool isV4 = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    const uint8_t *bytes = v6->sin6_addr.s6_addr;
    inet_ntop(isV4 ? AF_INET : AF_INET6, isV4 ? bytes + 12 : bytes, host, sizeof host);
    snprintf(text, sizeof text, isV4 ? "%s:%u" : "[%s]:%u", host, ntohs(v6->sin6_port));
  }
  napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result);
  return result;
}

napi_value pause(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.pause(call.slot(0), call.generation(0));
  return nullptr;
}

napi_value pipe(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(call.binding->transport.pipe(call.slot(0), call.generation(0), call.slot(1),
                                                  call.generation(1)));
}

napi_value acceptAtMost(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.acceptAtMost(static_cast<uint32_t>(call.number(0)));
  return nullptr;
}

napi_value stopListening(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.stopListening();
  return nullptr;
}

napi_value closeAll(napi_env env, napi_callback_info info) {
  Call call(env, info);
  call.binding->transport.close();
  return nullptr;
}

napi_value fetch(napi_env env, napi_callback_info info) {
  Call call(env, info);
  Binding *binding = call.binding;
  // While a worker is terminating, napi_unwrap fails.
  if (binding == nullptr) return nullptr;
  return call.result(binding->transport.fetch(binding->fetched, binding->fetchedMax));
}

napi_value acceptPauses(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(static_cast<double>(call.binding->transport.acceptPauses()));
}

napi_value slotBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(static_cast<double>(call.binding->transport.slotBytes()));
}

napi_value sendBufferBytes(napi_env env, napi_callback_info info) {
  Call call(env, info);
  return call.result(static_cast<double>(call.binding->transport.sendBufferBytes()));
}

napi_value tlsUsage(napi_env env, napi_callback_info info) {
  Call call(env, info);
  size_t length;
  double *usage = call.array<double>(0, &length);
  const longline::Tls &tls = call.binding->transport.tls();
  size_t values[] = {tls.tls12Connections(), tls.tls12Bytes(), tls.tls13Connections(),
                     tls.tls13Bytes()};
  std::copy(std::begin(values), std::end(values), usage);
  return nullptr;
}

napi_value dispose(napi_env env, napi_callback_info info) {
  Binding *binding = Call(env, info).binding;
  if (binding->isClosing) return nullptr;
  stop(binding);
  // They refer to objects that refer to this one.
  napi_delete_reference(env, binding->onReady);
  napi_delete_reference(env, binding->readBuffer);
  napi_delete_reference(env, binding->events);
  return nullptr;
}

// new Binding(connectionsMax, sendBufferBytesMax, readBuffer, events, onReady, tickMs)
napi_value construct(napi_env env, napi_callback_info info) {
  size_t count = Call::kArguments;
  napi_value self;
  napi_value values[Call::kArguments];
  napi_get_cb_info(env, info, &count, values, &self, nullptr);
  double connectionsMax = 0, sendBufferBytesMax = 0, tickMs = 0;
  napi_get_value_double(env, values[0], &connectionsMax);
  napi_get_value_double(env, values[1], &sendBufferBytesMax);
  napi_get_value_double(env, values[5], &tickMs);
  size_t bytesMax = 0, wordsMax = 0;
  void *bytes = nullptr, *words = nullptr;
  napi_get_typedarray_info(env, values[2], nullptr, &bytesMax, &bytes, nullptr, nullptr);
  napi_get_typedarray_info(env, values[3], nullptr, &wordsMax, &words, nullptr, nullptr);

  longline::Limits limits = {static_cast<uint32_t>(connectionsMax),
                             static_cast<size_t>(sendBufferBytesMax)};
  auto *binding = new Binding(limits, static_cast<char *>(bytes), bytesMax);
  if (binding->transport.descriptor() < 0) {
    napi_throw_error(env, nullptr, "epoll_create1 failed");
    delete binding;
    return nullptr;
  }
  binding->env = env;
  binding->fetched = static_cast<Event *>(words);
  binding->fetchedMax = static_cast<uint32_t>(wordsMax * sizeof(uint32_t) / sizeof(Event));
  napi_create_reference(env, values[2], 1, &binding->readBuffer);
  napi_create_reference(env, values[3], 1, &binding->events);
  napi_create_reference(env, values[4], 1, &binding->onReady);

  uv_loop_t *loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  uv_poll_init(loop, &binding->poll, binding->transport.descriptor());
  uv_timer_init(loop, &binding->timer);
  binding->poll.data = binding->timer.data = binding;
  binding->openHandles = 2;
  uv_poll_start(&binding->poll, UV_READABLE, onReadable);
  uv_timer_start(&binding->timer, onTimeout, static_cast<uint64_t>(tickMs),
                 static_cast<uint64_t>(tickMs));
  // The handles keep the process alive only after listen or connect.
  uv_unref(reinterpret_cast<uv_handle_t *>(&binding->poll));
  uv_unref(reinterpret_cast<uv_handle_t *>(&binding->timer));
  napi_add_async_cleanup_hook(env, onCleanup, binding, &binding->cleanup);
  napi_wrap(env, self, binding, finalize, nullptr, nullptr);
  return self;
}

}  // namespace

NAPI_MODULE_INIT() {
  auto method = [](const char *name, napi_callback callback) {
    return napi_property_descriptor{name,    nullptr, callback,     nullptr,
                                    nullptr, nullptr, napi_default, nullptr};
  };
  napi_property_descriptor methods[] = {
      method("configureTls", configureTls),
      method("listen", listen),
      method("connect", connect),
      method("write", write),
      method("writeMany", writeMany),
      method("end", end),
      method("destroy", destroy),
      method("secure", secure),
      method("setTimer", setTimer),
      method("bufferedBytes", bufferedBytes),
      method("remoteAddress", remoteAddress),
      method("pause", pause),
      method("pipe", pipe),
      method("acceptAtMost", acceptAtMost),
      method("stopListening", stopListening),
      method("close", closeAll),
      method("fetch", fetch),
      method("acceptPauses", acceptPauses),
      method("slotBytes", slotBytes),
      method("sendBufferBytes", sendBufferBytes),
      method("tlsUsage", tlsUsage),
      method("dispose", dispose),
  };
  napi_value constructor;
  napi_define_class(env, "Binding", NAPI_AUTO_LENGTH, construct, nullptr,
                    sizeof methods / sizeof *methods, methods, &constructor);
  napi_set_named_property(env, exports, "Binding", constructor);
  napi_property_descriptor functions[] = {
      method("limitSocketBuffers", longline::limitSocketBuffers),
      method("trimMemory", longline::trimMemory),
  };
  napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions);
  return exports;
}
