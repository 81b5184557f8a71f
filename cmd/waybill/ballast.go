package main

// ballastBytes of address space, never touched and so never memory, let as much garbage come together before it is
// collected. On the few megabytes that an emulator lives on, the collector would run tens of times a second under load, which
// costs a sixth of the throughput.
const ballastBytes = 16 << 20

func newBallast() []byte { return make([]byte, ballastBytes) }
