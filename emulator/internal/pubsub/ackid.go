package pubsub

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// ackID names one lease: of which subscription, of which message, and the how-manieth.
type ackID struct {
	incarnation uint32 // tells a subscription from an earlier one of the same name
	seq         uint64
	lease       uint32
}

const ackIDBytes = 20 // the three fields and a checksum, by which a malformed id is known

// String is the id as clients see it. It tells them nothing.
func (id ackID) String() string {
	var raw [ackIDBytes]byte
	binary.BigEndian.PutUint32(raw[0:], id.incarnation)
	binary.BigEndian.PutUint64(raw[4:], id.seq)
	binary.BigEndian.PutUint32(raw[12:], id.lease)
	binary.BigEndian.PutUint32(raw[16:], crc32.ChecksumIEEE(raw[:16]))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// parseAckID reports false for what no String returned.
func parseAckID(s string) (ackID, bool) {
	var raw [ackIDBytes]byte
	if len(s) != base64.RawURLEncoding.EncodedLen(ackIDBytes) {
		return ackID{}, false
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(s)); err != nil {
		return ackID{}, false
	}
	if binary.BigEndian.Uint32(raw[16:]) != crc32.ChecksumIEEE(raw[:16]) {
		return ackID{}, false
	}
	return ackID{
		incarnation: binary.BigEndian.Uint32(raw[0:]),
		seq:         binary.BigEndian.Uint64(raw[4:]),
		lease:       binary.BigEndian.Uint32(raw[12:]),
	}, true
}

// parseAckIDs parses all or fails with the error that the service gives for the first malformed one.
func parseAckIDs(in []string) ([]ackID, error) {
	ids := make([]ackID, len(in))
	for i, s := range in {
		id, ok := parseAckID(s)
		if !ok {
			return nil, invalid("You have passed an invalid ack ID to the service (ack_id=%s).", s)
		}
		ids[i] = id
	}
	return ids, nil
}
