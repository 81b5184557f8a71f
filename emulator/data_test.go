package emulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator"
)

func TestDataOutlivesTheEmulator(t *testing.T) {
	config := emulator.Config{Listen: "127.0.0.1:0", Data: filepath.Join(t.TempDir(), "data")}
	url, arrivals := receiver(t)

	e := start(t, config)
	client := tasksClient(t, e)
	createQueue(t, client)
	e.Advance(30 * time.Hour)
	task := httpTask(url, url)
	task.ScheduleTime = timestamppb.New(e.Now().Add(time.Hour))
	created, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: task})
	if err != nil {
		t.Fatal(err)
	}
	before := e.Now()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if left := e.Leftovers(); left.Tasks != 1 || !left.Kept {
		t.Errorf("left: %v", left)
	}

	e = start(t, config)
	if now := e.Now(); now.Before(before) {
		t.Errorf("time went back from %v to %v", before, now)
	}
	got, err := tasksClient(t, e).GetTask(t.Context(), &cloudtaskspb.GetTaskRequest{Name: created.GetName()})
	if err != nil || !got.GetScheduleTime().AsTime().Equal(created.GetScheduleTime().AsTime()) {
		t.Errorf("the task is %v, %v", got, err)
	}
	if len(arrivals) != 0 {
		t.Error("delivered before its time")
	}
	e.Advance(time.Hour)
	if arrival := <-arrivals; arrival.body != `{"to":"ada"}` {
		t.Errorf("arrived: %q", arrival.body)
	}
	e.Reset()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tasksClient(t, start(t, config)).GetQueue(t.Context(), &cloudtaskspb.GetQueueRequest{Name: queue}); err == nil {
		t.Error("the queue came back after Reset")
	}
}

func TestDataThatCannotBeUsed(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(t.TempDir(), "used")
	e := start(t, emulator.Config{Data: used})
	for dir, words := range map[string]string{foreign: "is not the emulator's: give an empty directory", used: "another emulator may be using it"} {
		_, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0", Data: dir})
		if err == nil || !strings.Contains(err.Error(), "emulator: Config.Data: ") || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
