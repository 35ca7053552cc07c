package crosskey

import (
	"errors"
	"fmt"

	"crosskey/clients/go/crosskeyv1"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	domain       = "crosskey"
	reasonPrefix = "ERROR_REASON_"
)

// Error is what a router says of a call that failed: docs/errors.md has every reason.
type Error struct {
	// Code is gRPC's.
	Code codes.Code
	// Reason tells what happened; ERROR_REASON_UNSPECIFIED if it was gRPC itself that failed the call.
	Reason crosskeyv1.ErrorReason
	// Message is PostgreSQL's own where PostgreSQL said it.
	Message string
	// Metadata has the table, constraint, columns, key, hint and so on, where they apply.
	Metadata map[string]string
	// Retryable says that the request left no trace and may be sent again as it is.
	Retryable bool
}

// Error tells what happened, and the hint if there is one.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s: %s", e.Name(), e.Message)
	if hint := e.Metadata["hint"]; hint != "" {
		text += " (" + hint + ")"
	}
	return text
}

// Name is the reason as docs/errors.md has it, such as FOREIGN_KEY_VIOLATION, or else gRPC's code.
func (e *Error) Name() string {
	if e.Reason == crosskeyv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return e.Code.String()
	}
	return e.Reason.String()[len(reasonPrefix):]
}

// ErrorOf returns what a call's error says; nil for no error, and for one that no call returned.
func ErrorOf(err error) *Error {
	if already := (*Error)(nil); errors.As(err, &already) {
		return already
	}
	called, ok := status.FromError(err)
	if err == nil || !ok {
		return nil
	}
	found := &Error{Code: called.Code(), Message: called.Message(), Metadata: map[string]string{}}
	for _, detail := range called.Details() {
		switch told := detail.(type) {
		case *errdetails.ErrorInfo:
			if told.GetDomain() == domain {
				found.Reason = crosskeyv1.ErrorReason(crosskeyv1.ErrorReason_value[reasonPrefix+told.GetReason()])
				found.Metadata = told.GetMetadata()
			}
		case *errdetails.RetryInfo:
			found.Retryable = true
		}
	}
	return found
}

// Is tells whether a call failed for that reason.
func Is(err error, reason crosskeyv1.ErrorReason) bool {
	found := ErrorOf(err)
	return found != nil && found.Reason == reason
}
