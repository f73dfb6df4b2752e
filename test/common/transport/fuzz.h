// Shared by the parts of the fuzzer.
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include <cstdint>
#include <random>

#include "../../../common/transport/native/tls.h"

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                \
    }                                                                         \
  } while (0)

extern std::mt19937 randomness;

inline uint32_t below(uint32_t bound) { return static_cast<uint32_t>(randomness() % bound); }

void fuzzTls(int connections);
void testTlsBounds();
// Settings with a certificate of their own.
longline::TlsSettings makeSettings();
