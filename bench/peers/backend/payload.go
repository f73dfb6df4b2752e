package main

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

const payloadBytes = 128

var (
	startedAt = time.Now()
	startedUs = monotonicUs()
)

// monotonicUs reads CLOCK_MONOTONIC, which all processes of this machine share.
func monotonicUs() int64 {
	const clockMonotonic = 1
	var spec syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&spec)), 0)
	return spec.Nano() / 1e3
}

// nowUs returns the same without a system call.
func nowUs() int64 {
	return startedUs + time.Since(startedAt).Microseconds()
}

// timedPayload is that of bench/support/pushes/timed-payload.ts.
func timedPayload() []byte {
	payload := make([]byte, payloadBytes)
	for i := range payload {
		payload[i] = '.'
	}
	copy(payload, fmt.Sprintf(`"@t=%016d`, nowUs()))
	payload[payloadBytes-1] = '"'
	return payload
}
