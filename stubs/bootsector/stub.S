# The boot sector's code: shows a message to whoever boots an EFI-only disk by legacy BIOS.
#
# The BIOS loads it to 0000:7C00 and jumps there; nothing else is known about the machine. It runs on what has UEFI, so
# instructions of the 80186 (pusha, outsb) are safe. README.md counts its bytes and says what the message looks like.
#
# THEN, given to the assembler: 0 halt, 1 wait for a key and restart, 2 ask the BIOS for the next boot device.

        .code16
        .intel_syntax noprefix

        .equ    HALT, 0
        .equ    KEY_REBOOT, 1
        .equ    NEXT_DEVICE, 2

        # The stack grows down from here, the unpacked message up, at most to the code at 7C00.
        .equ    BUFFER, 0x7000
        # High byte of interrupt vector 10h's segment, and the one it has while the video BIOS at C000 owns it.
        .equ    VIDEO_VECTOR, 0x0043
        .equ    VIDEO_BIOS, 0xC0
        # In the BIOS data area: the first serial port; head and tail of the keyboard's buffer; what kind of reset.
        .equ    SERIAL_PORT, 0x0400
        .equ    KEYS_HEAD, 0x041A
        .equ    KEYS_TAIL, 0x041C
        .equ    RESET_KIND, 0x0472
        .equ    WARM, 0x1234
        # The line status register, from the port on, and its bit for "can take a byte".
        .equ    LINE_STATUS, 5
        .equ    CAN_TAKE, 0x20
        # Ticks of the BIOS's clock (18.2 a second) that the message stands before the next device is asked for: 5 s.
        .equ    TICKS, 91

        .globl  start
start:
        # CS may be 0000 or 07C0: no jump below is absolute, and all data is reached through DS = 0.
        xor     ax, ax
        xor     cx, cx
        mov     ss, ax
        mov     sp, BUFFER
        mov     ds, ax
        mov     es, ax
        cld
        sti

        # Unpack the message. From here on AH = 0 and CX = 0 wherever a byte is fetched.
        mov     si, offset message
        mov     di, sp
        # CR, then (through the store below) LF: what every later line end is copied from.
        movsb
        lodsb
literal:
        stosb
next:
        lodsb
        cmp     al, ' '
        jae     literal
        xchg    cx, ax                  # the length; AX = 0
        jcxz    unpacked
        lodsb                           # how far back
        push    si
        mov     si, di
        sub     si, ax
        rep movsb
        pop     si
        jmp     next

        # Show it. The first call sets mode 3 (80 x 25, cleared): AX is 0 here. Some BIOSes destroy BP where they
        # scroll, some AX: none gets at ours.
unpacked:
        mov     al, 3
        mov     si, sp
show:
        pusha
        int     0x10
        popa
        lodsb
        mov     ah, 0x0E
        mov     bx, 7
        cmp     si, di
        jbe     show

        # The same on the serial port, unless somebody mirrors the screen to it already. Nobody does while vector 10h is
        # the video BIOS's own: firmware that mirrors (SeaBIOS under -nographic, sgabios) has taken it. Nor where there
        # is no screen at all and nobody answers: asked for the mode (AH = 0F), the firmware leaves AH as it is instead
        # of putting the number of columns there.
        cmp     byte ptr [VIDEO_VECTOR], VIDEO_BIOS
        je      alone
        mov     ah, 0x0F
        int     0x10
        cmp     ah, 0x0F
        jne     then
alone:
        mov     ax, [SERIAL_PORT]
        xchg    bx, ax
        test    bx, bx
        jz      then
        mov     si, sp
send:
        lea     dx, [bx + LINE_STATUS]
        xor     cx, cx
ready:
        in      al, dx
        test    al, CAN_TAKE
        loopz   ready
        # 65,536 times not ready, a tenth of a second: it never will be. Where there is no UART, all bits are set.
        jz      then
        mov     dx, bx
        outsb
        cmp     si, di
        jb      send

then:
        .if THEN == KEY_REBOOT
        # Keys from before the message are not meant for it.
        mov     ax, [KEYS_TAIL]
        mov     [KEYS_HEAD], ax
        xor     ax, ax
        int     0x16
        mov     word ptr [RESET_KIND], WARM
        jmp     0xFFFF:0
        .else
        .if THEN == NEXT_DEVICE
        mov     cx, TICKS
tick:
        hlt
        loop    tick
        int     0x18
        # Some BIOSes return, having no other device.
        .endif
halt:
        # Interrupts are on: Ctrl-Alt-Del still works, and the processor rests.
        hlt
        jmp     halt
        .endif

        # The message begins here.
        .globl  message
message:
