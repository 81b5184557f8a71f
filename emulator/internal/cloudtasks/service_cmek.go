package cloudtasks

import (
	"context"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/proto"
)

// The configuration of encryption keys is kept for those who ask. Nothing is encrypted by it.

// GetCmekConfig answers a configuration without a key where none was set.
func (s service) GetCmekConfig(_ context.Context, r *cloudtaskspb.GetCmekConfigRequest) (*cloudtaskspb.CmekConfig, error) {
	if err := checkCmekConfig("name", r.GetName()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.cmek[r.GetName()]; kept != nil {
		return proto.CloneOf(kept), nil
	}
	return &cloudtaskspb.CmekConfig{Name: r.GetName()}, nil
}

// UpdateCmekConfig sets the key; an empty one turns encryption off.
func (s service) UpdateCmekConfig(_ context.Context, r *cloudtaskspb.UpdateCmekConfigRequest) (*cloudtaskspb.CmekConfig, error) {
	config := r.GetCmekConfig()
	if err := checkCmekConfig("cmek_config.name", config.GetName()); err != nil {
		return nil, err
	}
	setKey := len(r.GetUpdateMask().GetPaths()) == 0
	for _, path := range r.GetUpdateMask().GetPaths() {
		switch snakeCase(path) {
		case "kms_key", "*":
			setKey = true
		case "name": // output only
		default:
			return nil, invalid("update_mask", "updateMask has the unknown field %q.", path)
		}
	}
	if key := config.GetKmsKey(); key != "" && !isKmsKey(key) {
		return nil, invalid("cmek_config.kms_key", `CmekConfig.kmsKey must be formatted "projects/PROJECT_ID/locations/LOCATION_ID/keyRings/KEY_RING_ID/cryptoKeys/KEY_ID", or empty.`)
	}
	return commit(s, func(time.Time) (*cloudtaskspb.CmekConfig, error) {
		kept := &cloudtaskspb.CmekConfig{Name: config.GetName(), KmsKey: s.cmek[config.GetName()].GetKmsKey()}
		if setKey {
			kept.KmsKey = config.GetKmsKey()
		}
		s.cmek[config.GetName()] = kept
		s.journal.putCmek(kept)
		return proto.CloneOf(kept), nil
	})
}

func checkCmekConfig(field, name string) error {
	parent, found := strings.CutSuffix(name, "/cmekConfig")
	if !found || !wellFormed(parent, isProject, isLocation) {
		return invalid(field, "%q is not the name of a CMEK configuration: it must be formatted \"projects/PROJECT_ID/locations/LOCATION_ID/cmekConfig\".", name)
	}
	return nil
}

func isKmsKey(name string) bool {
	location, key, found := strings.Cut(name, "/keyRings/")
	ring, id, more := strings.Cut(key, "/cryptoKeys/")
	return found && more && wellFormed(location, isProject, isLocation) && isID(ring, 63, "-_") && isID(id, 63, "-_")
}
