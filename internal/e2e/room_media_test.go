package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/ffmpeg"
	"github.com/parley-rtc/parley/media/ivf"
	"github.com/parley-rtc/parley/media/ogg"
)

// buildExample builds an example, as a person does who has a clone.
func buildExample(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./examples/"+name)...)
	cmd.Dir = moduleRoot()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return path
}

// Somebody in the web app sees and hears the film that room-media plays, made as its documentation says, and another
// room-media records her.
func TestRoomMediaInTheApp(t *testing.T) {
	needs(t, needChromium)
	ffmpeg.Need(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	ffmpeg.Run(t, "-f", "lavfi", "-i", "testsrc2=s=320x180:r=15", "-f", "lavfi", "-i", "sine=440,volume=4", "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "libopus", in("film.mkv"))
	ffmpeg.Run(t, "-i", in("film.mkv"), "-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", "-g", "60", in("film.ivf"), "-c:a", "libopus", "-page_duration", "20000", in("film.ogg"))
	program := buildExample(t, "room-media")
	s := serve(t)
	ada := sharedChromium(t).person(t, "Ada", personOptions{})
	link := ada.opensRoom(s.url)
	start(t, exec.Command(program, "play", link, in("film.ivf"), in("film.ogg")))
	ada.meets("player")
	ada.perceives(1)

	recorder := start(t, exec.Command(program, "record", link, in("recorded")))
	ada.meets("player", "recorder")
	// Two tracks of hers, and two of the player's.
	const tracks, enough = 4, 2 * sceneRate
	var files []string
	wait(t, "all tracks are recorded", func() error {
		files = nil
		for line := range strings.Lines(recorder.output()) {
			file := strings.TrimSpace(strings.TrimPrefix(line, "recording "))
			if n := recorded(file); n < enough {
				return fmt.Errorf("%s: %d frames", line, n)
			}
			files = append(files, file)
		}
		if len(files) != tracks {
			return fmt.Errorf("%d tracks", len(files))
		}
		return nil
	})
	recorder.cmd.Process.Signal(os.Interrupt)
	if <-recorder.done; recorder.err != nil {
		t.Errorf("the recorder: %v", recorder.err)
	}
	ada.meets("player")
	ada.perceives(1)
	for _, file := range files {
		n, err := strconv.Atoi(ffmpeg.Probe(t, file, "stream=nb_read_frames"))
		if want := recorded(file); n < enough || n != want {
			t.Errorf("%s has %d frames of %d, %v", filepath.Base(file), n, want, err)
		}
	}
}

// recorded is how many frames or packets are in a recording, which may still be written.
func recorded(file string) (n int) {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	if filepath.Ext(file) == ".ogg" {
		r, err := ogg.NewOpusReader(f)
		for ; err == nil; n++ {
			_, err = r.Next()
		}
	} else {
		r, err := ivf.NewReader(f)
		for ; err == nil; n++ {
			_, err = r.Next()
		}
	}
	return max(n-1, 0)
}
