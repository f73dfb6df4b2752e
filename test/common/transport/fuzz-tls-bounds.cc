// The bounds on unfinished handshakes and incomplete records, reached by floods.
#include <arpa/inet.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "../../../common/transport/native/transport.h"
#include "fuzz.h"

using namespace longline;

namespace {

// As in transport_tls.cc.
constexpr size_t kHandshakesMax = 5000;
constexpr size_t kKeptBytesMax = 64 << 20;

// Clients of a transport that never complete a handshake. Its clock does not run, so none times
// out.
struct Flood {
  static constexpr size_t kReadBufferBytes = 256 * 1024;
  std::vector<char> readBuffer = std::vector<char>(kReadBufferBytes);
  Transport transport{{20'000, 64 * 1024}, readBuffer.data(), kReadBufferBytes};
  std::vector<int> clients;
  std::vector<uint32_t> failures;

  // Each connects and sends these bytes.
  Flood(size_t count, const std::string &bytes) {
    CHECK(transport.configureTls(makeSettings(), false).empty());
    int port = transport.listen("127.0.0.1", 0);
    CHECK(port > 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (size_t i = 0; i < count; i++) {
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      CHECK(connect(fd, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
      CHECK(write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
      clients.push_back(fd);
      poll();
    }
    for (int i = 0; i < 100; i++) poll();
  }
  ~Flood() {
    for (int fd : clients) close(fd);
  }

  void poll() {
    transport.poll();
    Event events[64];
    while (uint32_t count = transport.fetch(events, 64)) {
      for (uint32_t i = 0; i < count; i++) {
        CHECK(events[i].type == kTlsFailed);
        failures.push_back(events[i].offset);
      }
    }
  }

  // Whether the server has ended this client's connection.
  bool isEnded(size_t client) const {
    char byte;
    return recv(clients[client], &byte, 1, MSG_DONTWAIT) == 0;
  }
};

}  // namespace

void testTlsBounds() {
  constexpr size_t kMore = 3;
  {
    Flood silent(kHandshakesMax + kMore, "");
    CHECK(silent.failures == std::vector<uint32_t>(kMore, kTooManyHandshakes));
    CHECK(silent.isEnded(kMore - 1) && !silent.isEnded(kMore));
  }
  // All but the last byte of a record with the longest message.
  std::string record = {kHandshake, 3, 1, 0x40, 0, 1, 0, 0x3f, static_cast<char>(0xfc)};
  record.resize(kRecordHeaderBytes + kPlaintextBytesMax - 1);
  size_t fitting = kKeptBytesMax / record.size();
  Flood incomplete(fitting + kMore, record);
  CHECK(incomplete.failures == std::vector<uint32_t>(kMore, kTooManyIncompleteRecords));
  CHECK(incomplete.isEnded(kMore - 1) && !incomplete.isEnded(kMore));
  CHECK(incomplete.transport.tls().keptBytes() == fitting * record.size());
}
