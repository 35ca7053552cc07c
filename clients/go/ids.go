package crosskey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Slots is how many slots there are; slot s is on shard s modulo the number of shards.
const Slots = 16384

// UUID is one in binary.
type UUID [16]byte

// String writes a UUID as PostgreSQL does.
func (u UUID) String() string {
	digits := hex.EncodeToString(u[:])
	return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}

// ParseUUID reads a UUID of 32 hexadecimal digits, with or without hyphens.
func ParseUUID(text string) (UUID, error) {
	var parsed UUID
	octets, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(octets) != len(parsed) {
		return parsed, fmt.Errorf("%q is no uuid", text)
	}
	copy(parsed[:], octets)
	return parsed, nil
}

// SlotOfInt is the slot of a smallint, integer or bigint.
func SlotOfInt(value int64) int {
	return SlotOfText(strconv.FormatInt(value, 10))
}

// SlotOfText is the slot of a text or varchar.
func SlotOfText(value string) int {
	digest := sha256.Sum256([]byte(value))
	return int(binary.BigEndian.Uint16(digest[:2])) % Slots
}

// SlotOfUUID is the slot that a uuid carries.
func SlotOfUUID(value UUID) int {
	return int(binary.BigEndian.Uint16(value[14:])^blur(value)) % Slots
}

// MintFor makes an id for a row whose shard key has this value: an int, int32 or int64 for smallint, integer and bigint,
// a string for text and varchar, a UUID for uuid. A uuid that is a string is to be read by ParseUUID first.
func MintFor(shardKey any) (UUID, error) {
	switch value := shardKey.(type) {
	case int:
		return MintUUID(SlotOfInt(int64(value))), nil
	case int32:
		return MintUUID(SlotOfInt(int64(value))), nil
	case int64:
		return MintUUID(SlotOfInt(value)), nil
	case UUID:
		return MintUUID(SlotOfUUID(value)), nil
	case string:
		if _, err := ParseUUID(value); err == nil {
			return UUID{}, fmt.Errorf("%q is a uuid: read it by ParseUUID, or say MintUUID(SlotOfText(..)) for a text", value)
		}
		return MintUUID(SlotOfText(value)), nil
	default:
		return UUID{}, fmt.Errorf("a shard key is an integer, a string or a UUID, not %T", shardKey)
	}
}

// MintUUID makes a UUIDv7 that carries a slot: an id for a row whose shard key is of that slot. A router does the same
// for rows that come without an id. It panics if there is no such slot.
func MintUUID(slot int) UUID {
	if slot < 0 || slot >= Slots {
		panic(fmt.Sprintf("slot %d is not in 0 to %d", slot, Slots-1))
	}
	var minted UUID
	rand.Read(minted[:])
	var moment [8]byte
	binary.BigEndian.PutUint64(moment[:], uint64(time.Now().UnixMilli()))
	copy(minted[:6], moment[2:])
	minted[6] = 0x70 | minted[6]&0x0f
	minted[8] = 0x80 | minted[8]&0x3f
	above := binary.BigEndian.Uint16(minted[14:]) &^ (Slots - 1)
	binary.BigEndian.PutUint16(minted[14:], above|(uint16(slot)^blur(minted)&(Slots-1)))
	return minted
}

// What the last two bytes are combined with, so that ids of one slot do not look alike.
func blur(value UUID) uint16 {
	digest := sha256.Sum256(value[:14])
	return binary.BigEndian.Uint16(digest[:2])
}
