package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/ffmpeg"
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
	const pictures = 2 * sceneRate
	ada.until("is recorded", fmt.Sprintf(`e2e.connections.at(-1).getStats().then((stats) => [...stats.values()].some((s) => s.type === 'outbound-rtp' && s.framesSent > %d))`, pictures))
	wait(t, "both tracks are recorded", func() error {
		if strings.Count(recorder.output(), "recording ") < 2 {
			return errors.New(recorder.output())
		}
		return nil
	})
	recorder.cmd.Process.Signal(os.Interrupt)
	if <-recorder.done; recorder.err != nil {
		t.Errorf("the recorder: %v", recorder.err)
	}
	ada.meets("player")
	ada.perceives(1)
	for _, line := range strings.Split(recorder.output(), "\n") {
		file := strings.TrimPrefix(line, "recording ")
		n, err := strconv.Atoi(ffmpeg.Probe(t, file, "stream=nb_read_frames"))
		if n < pictures*2/3 {
			t.Errorf("%s has %d frames, %v", filepath.Base(file), n, err)
		}
	}
}
