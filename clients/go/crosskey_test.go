package crosskey

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"crosskey/clients/go/crosskeyv1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const vectors = "../../docs/slots.json"

func TestSlotsAreThoseOfTheVectors(t *testing.T) {
	text, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	var cases struct {
		Text []struct {
			Value string
			Slot  int
		}
		Integer []struct {
			Value json.Number
			Slot  int
		}
		UUID []struct {
			Value string
			Slot  int
		}
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases.Text)*len(cases.Integer)*len(cases.UUID) == 0 {
		t.Fatal("a kind of vector is missing")
	}
	for _, each := range cases.Text {
		if found := SlotOfText(each.Value); found != each.Slot {
			t.Errorf("text %q: %d, not %d", each.Value, found, each.Slot)
		}
	}
	for _, each := range cases.Integer {
		value, err := each.Value.Int64()
		if found := SlotOfInt(value); err != nil || found != each.Slot {
			t.Errorf("integer %s: %d, not %d", each.Value, found, each.Slot)
		}
	}
	for _, each := range cases.UUID {
		value, err := ParseUUID(each.Value)
		if found := SlotOfUUID(value); err != nil || found != each.Slot {
			t.Errorf("uuid %s: %d, not %d", each.Value, found, each.Slot)
		}
	}
}

func TestIdsAreMintedForShardKeys(t *testing.T) {
	parent := MintUUID(42)
	for key, slot := range map[any]int{42: 13127, int32(42): 13127, int64(-1): 7085, "Zoë": 1697, parent: 42} {
		if minted, err := MintFor(key); err != nil || SlotOfUUID(minted) != slot {
			t.Fatalf("%v: %s, %v", key, minted, err)
		}
	}
	for _, key := range []any{1.5, parent.String()} {
		if _, err := MintFor(key); err == nil {
			t.Fatalf("%v was taken", key)
		}
	}
}

func TestMintedIdsCarryTheirSlot(t *testing.T) {
	for slot := range Slots {
		minted := MintUUID(slot)
		if SlotOfUUID(minted) != slot || minted[6]>>4 != 7 || minted[8]>>6 != 2 {
			t.Fatalf("%s is no UUIDv7 of slot %d", minted, slot)
		}
		if parsed, err := ParseUUID(minted.String()); err != nil || parsed != minted {
			t.Fatalf("%s is read as %s", minted, parsed)
		}
	}
}

func TestRowsGoOutAndComeBack(t *testing.T) {
	text, err := EncodeRows(Row{"id": int64(9007199254740993), "raw": []byte{1, 255}, "html": "<&>", "none": nil})
	if err != nil {
		t.Fatal(err)
	}
	if expected := `[{"html":"<&>","id":9007199254740993,"none":null,"raw":"\\x01ff"}]`; text != expected {
		t.Errorf("%s, not %s", text, expected)
	}
	rows, err := DecodeRows(text)
	if err != nil || rows[0]["id"] != json.Number("9007199254740993") {
		t.Errorf("%v, %v", rows, err)
	}
	if none, err := DecodeRows(""); none != nil || err != nil {
		t.Errorf("%v, %v", none, err)
	}
}

func TestErrorsTellTheirReason(t *testing.T) {
	told, err := status.New(codes.Aborted, "busy").WithDetails(
		&errdetails.ErrorInfo{Reason: "CONFLICT", Domain: "crosskey", Metadata: map[string]string{"hint": "later"}},
		&errdetails.RetryInfo{},
	)
	if err != nil {
		t.Fatal(err)
	}
	found := ErrorOf(told.Err())
	if !found.Retryable || found.Error() != "CONFLICT: busy (later)" {
		t.Error(found)
	}
	if !Is(told.Err(), crosskeyv1.ErrorReason_ERROR_REASON_CONFLICT) || Is(nil, found.Reason) {
		t.Error("the reason is not told")
	}
	if ErrorOf(nil) != nil || ErrorOf(errors.New("other")) != nil {
		t.Error("what no call returned is no error of a call")
	}
	if plain := ErrorOf(status.Error(codes.Unavailable, "gone")); plain.Name() != "Unavailable" {
		t.Error(plain)
	}
}

// A compiler adds them for its plugins alone.
func withoutJSONNames(messages []*descriptorpb.DescriptorProto) {
	for _, message := range messages {
		for _, field := range message.Field {
			field.JsonName = nil
		}
		withoutJSONNames(message.NestedType)
	}
}

// The test in Python says where the protos' descriptors are.
func TestStubsAreThoseOfTheProtos(t *testing.T) {
	path := os.Getenv("CROSSKEY_DESCRIPTORS")
	if path == "" {
		t.Skip("CROSSKEY_DESCRIPTORS names no file")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var wanted descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(text, &wanted); err != nil {
		t.Fatal(err)
	}
	stubs := []protoreflect.FileDescriptor{
		crosskeyv1.File_crosskey_v1_admin_proto, crosskeyv1.File_crosskey_v1_error_reason_proto,
		crosskeyv1.File_crosskey_v1_router_proto, crosskeyv1.File_crosskey_v1_rows_proto,
	}
	if len(wanted.File) != len(stubs) {
		t.Fatalf("%d protos, %d stubs", len(wanted.File), len(stubs))
	}
	for place, file := range stubs {
		found := protodesc.ToFileDescriptorProto(file)
		withoutJSONNames(found.MessageType)
		withoutJSONNames(wanted.File[place].MessageType)
		if !proto.Equal(wanted.File[place], found) {
			t.Errorf("%s has changed: make generate-go", found.GetName())
		}
	}
}
