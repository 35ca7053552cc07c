package crosskey

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
)

// Row has the columns of a row, or of a key, by name.
type Row map[string]any

// EncodeRows writes rows as the rows_json of a request. Bytes become PostgreSQL's hex format, and numbers keep every
// digit: an int64 needs no detour through a double, as it does in a Struct.
func EncodeRows(rows ...Row) (string, error) {
	encoded := make([]Row, len(rows))
	for place, row := range rows {
		encoded[place] = withoutBytes(row)
	}
	return encode(encoded)
}

// EncodeRow writes one row, or a key, as the key_json or set_json of a request.
func EncodeRow(row Row) (string, error) {
	return encode(withoutBytes(row))
}

// EncodeValue writes a value as the value_json of a predicate.
func EncodeValue(value any) (string, error) {
	return encode(hexOf(value))
}

// DecodeRows reads the rows_json of a response to a request with ROW_FORM_JSON. Numbers are json.Number; a bigint and a
// numeric are strings.
func DecodeRows(rowsJSON string) ([]Row, error) {
	if rowsJSON == "" {
		return nil, nil
	}
	var rows []Row
	err := decode(rowsJSON, &rows)
	return rows, err
}

// DecodeRow reads the row_json of a response.
func DecodeRow(rowJSON string) (Row, error) {
	var row Row
	err := decode(rowJSON, &row)
	return row, err
}

func withoutBytes(row Row) Row {
	copied := make(Row, len(row))
	for column, value := range row {
		copied[column] = hexOf(value)
	}
	return copied
}

// encoding/json writes bytes as base64, which PostgreSQL would store as the text that it is.
func hexOf(value any) any {
	if octets, ok := value.([]byte); ok && octets != nil {
		return `\x` + hex.EncodeToString(octets)
	}
	return value
}

func encode(value any) (string, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return strings.TrimSuffix(buffer.String(), "\n"), nil
}

func decode(text string, target any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(target); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("there is more than one JSON value")
	}
	return nil
}
